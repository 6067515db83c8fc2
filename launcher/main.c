/* muster VERB ARGS...: a table of verbs, and nothing else. */
#include "common/commands/convert_commands.h"
#include "common/commands/model_commands.h"
#include "common/commands/serve_commands.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/stdio_setup.h"
#include "common/version.h"
#include "common/words.h"
#include "launcher/cmd/cmd.h"
#include "launcher/run/run_plan.h"
#include "launcher/run/cmd_worker.h"

typedef struct verb {
    const char *name, *summary;                /* NULL: the command's */
    mu_status_t (*run)(int argc, char **argv); /* argv[0] is the verb */
    const mu_command_t *command;               /* its table; NULL: it has another, or several */
} verb_t;

static const verb_t verbs[] = {
    {NULL, NULL, mu_cmd_config, &mu_config_command},
    {NULL, NULL, mu_cmd_prepare, &mu_prepare_command},
    {"tokenizer", "train a tokenizer; text to ids and back", mu_cmd_tokenizer, NULL},
    {NULL, NULL, mu_cmd_plan, &mu_plan_command},
    {NULL, NULL, mu_cmd_check, &mu_check_command},
    {NULL, NULL, mu_cmd_run, &mu_run_command},
    {NULL, NULL, mu_cmd_status, &mu_status_command},
    {NULL, NULL, mu_cmd_compare, &mu_compare_command},
    {NULL, NULL, mu_cmd_track, &mu_track_command},
    {NULL, NULL, mu_cmd_stop, &mu_stop_command},
    {NULL, NULL, mu_cmd_render, &mu_render_command},
    {NULL, NULL, mu_cmd_inspect, &mu_inspect_command},
    {NULL, NULL, mu_cmd_eval, &mu_eval_command},
    {NULL, NULL, mu_cmd_generate, &mu_generate_command},
    {NULL, NULL, mu_cmd_serve, &mu_serve_command},
    {NULL, NULL, mu_cmd_worker, &mu_import_command},
    {NULL, NULL, mu_cmd_export, &mu_export_command},
    {NULL, NULL, mu_cmd_completion, &mu_completion_command},
    {NULL, NULL, mu_cmd_man, &mu_man_command},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static const char *name_of(const verb_t *verb)
{
    return verb->command ? verb->command->name : verb->name;
}

static void help(FILE *out)
{
    fprintf(out, "usage: muster VERB ARGS...\n\n");
    for (int i = 0; i < VERBS; i++)
        fprintf(out, "  %-11s %s\n", name_of(&verbs[i]),
                verbs[i].command ? verbs[i].command->summary : verbs[i].summary);
    mu_buf_t page = MU_BUF_INIT;
    mu_page_add(MU_PAGE("exit-codes"), &page);
    fprintf(out,
            "\nmuster VERB --help and man muster-VERB say more about one; muster --version [--json]\n"
            "exit codes: man muster, and %s\n",
            page.data);
    mu_buf_release(&page);
}

static mu_status_t obey(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return mu_fail(MU_USAGE, "no verb given");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return MU_OK;
    }
    if (strcmp(argv[1], "--version") == 0)
        return mu_version_print(argc, argv, "muster");
    for (int i = 0; i < VERBS; i++)
        if (strcmp(argv[1], name_of(&verbs[i])) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    const char *names[VERBS + 1] = {NULL};
    for (int i = 0; i < VERBS; i++)
        names[i] = name_of(&verbs[i]);
    const char *near = mu_nearest_word(argv[1], names);
    return near ? mu_fail(MU_USAGE, "no verb '%s': did you mean %s? muster --help lists them", argv[1], near)
                : mu_fail(MU_USAGE, "no verb '%s': muster --help lists them", argv[1]);
}

int main(int argc, char **argv)
{
    mu_stdio_begin();
    return mu_status_exit(mu_stdio_end(obey(argc, argv)));
}
