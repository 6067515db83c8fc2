/* What is printed from all tables at once: completions and man pages. */
#include "common/commands/convert_commands.h"
#include "common/commands/model_commands.h"
#include "common/commands/serve_commands.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/stdio_setup.h"
#include "launcher/cmd/cmd.h"
#include "launcher/run/run_plan.h"

#include <errno.h>

const mu_command_t *const mu_commands[] = {&mu_config_command,
                                           &mu_prepare_command,
                                           &mu_tokenizer_train_command,
                                           &mu_tokenizer_encode_command,
                                           &mu_tokenizer_decode_command,
                                           &mu_plan_command,
                                           &mu_check_command,
                                           &mu_run_command,
                                           &mu_status_command,
                                           &mu_compare_command,
                                           &mu_track_command,
                                           &mu_stop_command,
                                           &mu_render_command,
                                           &mu_inspect_command,
                                           &mu_eval_command,
                                           &mu_generate_command,
                                           &mu_serve_command,
                                           &mu_import_command,
                                           &mu_export_command,
                                           &mu_completion_command,
                                           &mu_man_command,
                                           NULL};

typedef struct args {
    mu_words_t words;
    bool list;
} args_t;

static const mu_option_t completion_options[] = {MU_OPT("bash|zsh", NULL, MU_OPTION_OPERANDS,
                                                        offsetof(args_t, words), "the shell",
                                                        .required = true, .most = 1),
                                                 MU_OPT_END};

const mu_command_t mu_completion_command = {
    .name = "completion",
    .summary = "the script that completes muster in bash or zsh",
    .about = "Prints a script that completes verbs, options and their values. bash: source <(muster "
             "completion bash), or "
             "a file in /usr/share/bash-completion/completions. zsh: a file _muster in a folder of $fpath.",
    .options = completion_options,
    .exits = "0; 2 bad command line"};

static const mu_option_t man_options[] = {
    MU_OPT("VERB", NULL, MU_OPTION_OPERANDS, offsetof(args_t, words), "as in `muster plan`; none: muster(1)",
           .most = 2),
    MU_OPT("--list", NULL, MU_OPTION_FLAG, offsetof(args_t, list), "the names of all pages, one a line", ),
    MU_OPT_END};

const mu_command_t mu_man_command = {.name = "man",
                                     .summary = "a manual page in troff, made of the verb's own table",
                                     .about = "Prints the manual page of a verb: muster man plan | man -l -",
                                     .options = man_options,
                                     .exits = "0; 2 bad command line or no such verb"};

mu_status_t mu_cmd_completion(int argc, char **argv)
{
    args_t a = {0};
    mu_buf_t out = MU_BUF_INIT;
    bool help;
    mu_status_t status = mu_options_parse(&mu_completion_command, argc, argv, &a, NULL, &help);
    if (status != MU_OK || help)
        goto out;
    if (strcmp(a.words.item[0], "bash") == 0)
        mu_options_bash(mu_commands, &out);
    else if (strcmp(a.words.item[0], "zsh") == 0)
        mu_options_zsh(mu_commands, &out);
    else
        MU_TRY_GOTO(status, mu_fail(MU_USAGE, "completion: '%s': wanted bash or zsh", a.words.item[0]), out);
    status = mu_stdio_write(&out);
out:
    mu_buf_release(&out);
    mu_options_release(&mu_completion_command, &a);
    return status;
}

/* muster(1): the verbs. */
static void whole_page(mu_buf_t *out)
{
    mu_buf_addf(
        out,
        ".TH MUSTER 1 \"\" \"muster %s\"\n.SH NAME\nmuster \\- fine-tunes GPT-NeoX-style language models\n"
        ".SH SYNOPSIS\n.B muster\nVERB ARGS...\n.SH DESCRIPTION\nEach verb has a page of its own and "
        "\\-\\-help.\n.SH VERBS\n",
        MU_VERSION);
    for (int i = 0; mu_commands[i]; i++)
        mu_buf_addf(out, ".TP\n.B %s\n%s\n", mu_commands[i]->name, mu_commands[i]->summary);
    mu_buf_adds(out, ".SH EXIT STATUS\n");
    for (int i = 0; i < MU_STATUS_COUNT; i++) {
        int code = mu_status_exit((mu_status_t)i);
        if (mu_status_from_exit(code) == (mu_status_t)i)
            mu_buf_addf(out, ".TP\n.B %d\n%s\n", code, mu_status_text((mu_status_t)i));
    }
    mu_buf_adds(out,
                ".PP\ndocs/exit\\-codes.md says more, and which are worth a retry.\n.SH FILES\n.TP\n"
                "share/doc/muster/docs/*.md\nthe pages that are named docs/NAME.md, below the prefix that "
                "muster is installed in\n.TP\nshare/muster/configs\nconfigurations to begin with\n");
}

static mu_status_t page(const args_t *a, mu_buf_t *out)
{
    mu_buf_t name = MU_BUF_INIT;
    for (int i = 0; i < a->words.count; i++)
        mu_buf_addf(&name, "%s%s", i > 0 ? " " : "", a->words.item[i]);
    const mu_command_t *command = NULL;
    for (int i = 0; mu_commands[i]; i++)
        if (a->words.count > 0 && strcmp(mu_commands[i]->name, name.data) == 0)
            command = mu_commands[i];
    mu_status_t status = MU_OK;
    if (a->words.count == 0)
        whole_page(out);
    else if (command)
        mu_options_man(command, out);
    else
        status = mu_fail(MU_USAGE, "man: no verb '%s': muster man --list names them", name.data);
    mu_buf_release(&name);
    return status;
}

mu_status_t mu_cmd_man(int argc, char **argv)
{
    args_t a = {0};
    mu_buf_t out = MU_BUF_INIT;
    bool help;
    mu_status_t status = mu_options_parse(&mu_man_command, argc, argv, &a, NULL, &help);
    if (status != MU_OK || help)
        goto out;
    if (a.list)
        for (int i = 0; mu_commands[i]; i++)
            mu_buf_addf(&out, "%s\n", mu_commands[i]->name);
    else
        MU_TRY_GOTO(status, page(&a, &out), out);
    status = mu_stdio_write(&out);
out:
    mu_buf_release(&out);
    mu_options_release(&mu_man_command, &a);
    return status;
}
