#include "common/file.h"
#include "common/log.h"
#include "launcher/cmd/ask.h"
#include "launcher/cmd/cmd.h"

#include <unistd.h>

/* One sequence is one replica's work: workers are there to divide the model. */
static mu_status_t by_many(const mu_ask_t *ask)
{
    const mu_generate_t *args = ask->args;
    mu_args_t keys = {0}, words = {0};
    if (args->bench > 0)
        return mu_fail(MU_USAGE,
                       "generate: --bench times one process: leave out --hosts, --hostfile and --workers");
    mu_args_add(&keys, "train_batch_size=1");
    if (ask->on->workers > 0) {
        mu_args_add(&keys, "pipe_parallel_size=1");
        mu_args_addf(&keys, "model_parallel_size=%lld", (long long)ask->on->workers);
    }
    if (ask->on->threads > 0)
        mu_args_addf(&keys, "muster.threads_per_worker=%lld", (long long)ask->on->threads);
    for (int i = 0; i < ask->on->keys.count; i++)
        mu_args_add(&keys, ask->on->keys.item[i]);
    mu_args_add(&words, "--generate");
    for (int i = 0; i < ask->own.n; i++)
        mu_args_add(&words, ask->own.v[i]);
    mu_args_add(&words, "--");
    mu_args_add(&words, ask->on->models.item[0]);
    mu_status_t status = mu_ask_many(ask, 0, &keys, &words, NULL, NULL);
    mu_args_free(&keys);
    mu_args_free(&words);
    return status;
}

enum { PROMPT_MAX = (128 << 10) - 64 }; /* of one argument of a program, which it becomes */

static mu_status_t read_stdin(mu_buf_t *out)
{
    mu_fd_drain(STDIN_FILENO, (size_t)PROMPT_MAX + 1, out);
    return MU_OK;
}

/* The prompt of --prompt-file as "--prompt=TEXT"; NULL: there is no such option. */
static mu_status_t read_prompt(const char *file, char **out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_reserve(&text, 0);
    mu_status_t status =
        strcmp(file, "-") == 0 ? read_stdin(&text) : mu_file_read_text(file, PROMPT_MAX, &text);
    if (status == MU_OK && text.len > PROMPT_MAX)
        status = mu_fail(MU_DATA, "--prompt-file %s: more than %d bytes", file, PROMPT_MAX);
    if (status == MU_OK && memchr(text.data, '\0', text.len))
        status = mu_fail(MU_DATA, "--prompt-file %s: has a NUL, so it is no text", file);
    if (status == MU_OK)
        *out = mu_format("--prompt=%s", text.data);
    mu_buf_release(&text);
    return status;
}

/* Puts --prompt in the place of --prompt-file, before anything else reads the words. */
static mu_status_t take_prompt_file(int *argc, char **argv, char **prompt)
{
    static const char name[] = "--prompt-file";
    for (int i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        bool joined = strncmp(argv[i], name, sizeof name - 1) == 0 && argv[i][sizeof name - 1] == '=';
        if (!joined && (strcmp(argv[i], name) != 0 || i + 1 == *argc))
            continue;
        MU_TRY(read_prompt(joined ? argv[i] + sizeof name : argv[i + 1], prompt));
        argv[i] = *prompt;
        for (int k = i + 1; !joined && k < *argc; k++)
            argv[k] = k + 1 < *argc ? argv[k + 1] : NULL;
        *argc -= !joined;
        return MU_OK;
    }
    return MU_OK;
}

mu_status_t mu_cmd_generate(int argc, char **argv)
{
    mu_generate_t args = MU_GENERATE_INIT;
    char *prompt = NULL;
    MU_TRY(take_prompt_file(&argc, argv, &prompt));
    mu_status_t status = mu_ask(&mu_generate_command, argc, argv, &args, &args.on, by_many);
    free(prompt);
    return status;
}
