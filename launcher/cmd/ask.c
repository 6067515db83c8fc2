#include "launcher/cmd/ask.h"
#include "common/config/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/stdio_setup.h"
#include "launcher/run/run.h"
#include "launcher/run/cmd_worker.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "common/checkpoint/foreign.h"

#include <errno.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 << 20 };

static void add_all(mu_args_t *to, const mu_args_t *from)
{
    for (int i = 0; i < from->n; i++)
        mu_args_add(to, from->v[i]);
}

/* muster-worker's own verb with the same words, and `flag` where there is one; of the models one, or all (-1). */
static mu_args_t worker_line(const mu_ask_t *ask, const char *flag, int model)
{
    mu_args_t args = {0};
    mu_args_add(&args, ask->command->name);
    add_all(&args, &ask->own);
    if (flag)
        mu_args_add(&args, flag);
    mu_args_add(&args, "--");
    for (int i = 0; i < ask->on->keys.count; i++)
        mu_args_add(&args, ask->on->keys.item[i]);
    for (int i = 0; i < ask->on->models.count; i++)
        if (model < 0 || i == model)
            mu_args_add(&args, ask->on->models.item[i]);
    return args;
}

static mu_status_t ask_one(const mu_ask_t *ask)
{
    mu_args_t args = worker_line(ask, NULL, -1);
    mu_status_t status = mu_cmd_worker(args.n, args.v);
    mu_args_free(&args);
    return status;
}

/* ---- by many ---- */

mu_status_t mu_ask_whole_path(const char *path, char **out)
{
    *out = realpath(path, NULL);
    return *out ? MU_OK : mu_fail(MU_NOINPUT, "%s: %s", path, strerror(errno));
}

/* Whatever can be found wrong here is said before anyone waits for hosts. */
static mu_status_t check(const mu_ask_t *ask, int model)
{
    mu_args_t args = worker_line(ask, "--check", model);
    mu_status_t status = mu_cmd_worker_wait(args.n, args.v);
    mu_args_free(&args);
    return status;
}

/* The model's own configuration, as the checkpoint carries it, in a file that a run can be made of. */
static mu_status_t write_model(const mu_checkpoint_t *checkpoint, const char *dir, char **out)
{
    const char *text = mu_checkpoint_manifest(checkpoint)->info.config;
    if (!text)
        return mu_fail(MU_DATA, "%s: holds no configuration", mu_checkpoint_path(checkpoint));
    MU_TRY(mu_make_dirs(dir, 0700));
    char *path = mu_path_join(dir, "model.yml");
    mu_status_t status = mu_file_replace(path, text, strlen(text), 0600);
    if (status == MU_OK)
        *out = path;
    else
        free(path);
    return status;
}

/* The command line of a run with these hosts. What a run must have and an import from elsewhere has not, it is
 * given; what belongs to the training alone is taken away. */
static void run_line(const mu_ask_t *ask, const char *model, const char *checkpoint, const char *dir,
                     const mu_args_t *keys, mu_args_t *args)
{
    static const char *const fixed[] = {"finetune=true",
                                        "train_batch_size=null",
                                        "train_micro_batch_size_per_gpu=1",
                                        "gradient_accumulation_steps=1",
                                        "train_iters=1",
                                        "train_epochs=null",
                                        "optimizer.params.lr=1",
                                        "min_lr=0",
                                        "train_data_paths=null",
                                        "valid_data_paths=null",
                                        "test_data_paths=null",
                                        "train_data_weights=null",
                                        "valid_data_weights=null",
                                        "test_data_weights=null",
                                        "data_path=null",
                                        "muster.max_restarts=0",
                                        NULL};
    mu_args_add(args, "run");
    mu_args_add(args, model);
    for (int i = 0; mu_config_elsewhere[i]; i++)
        mu_args_add(args, mu_config_elsewhere[i]);
    for (int i = 0; fixed[i]; i++)
        mu_args_add(args, fixed[i]);
    add_all(args, keys);
    mu_args_addf(args, "load=%s", checkpoint);
    mu_args_addf(args, "--run-dir=%s", dir);
    if (ask->on->hosts)
        mu_args_addf(args, "--hosts=%s", ask->on->hosts);
    if (ask->on->hostfile)
        mu_args_addf(args, "--hostfile=%s", ask->on->hostfile);
    if (ask->on->workers > 0)
        mu_args_addf(args, "--workers=%lld", (long long)ask->on->workers);
}

mu_status_t mu_ask_print(const char *dir)
{
    char *path = mu_path_join(dir, "result");
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_file_read(path, ANSWER_MAX, &text);
    if (status == MU_OK)
        status = mu_stdio_write(&text);
    mu_buf_release(&text);
    free(path);
    return status;
}

static mu_status_t run(const mu_ask_t *ask, const mu_checkpoint_t *checkpoint, const char *dir,
                       const mu_args_t *keys, const mu_args_t *words, mu_ask_take_t take, void *arg)
{
    mu_args_t line = {0};
    char *model = NULL, *path = NULL;
    mu_status_t status;
    MU_TRY_GOTO(status, mu_ask_whole_path(mu_checkpoint_path(checkpoint), &path), out);
    MU_TRY_GOTO(status, write_model(checkpoint, dir, &model), out);
    run_line(ask, model, path, dir, keys, &line);
    MU_TRY_GOTO(status, mu_run(line.n, line.v, words), out);
    status = take ? take(arg, dir) : mu_ask_print(dir);
out:
    mu_args_free(&line);
    free(model);
    free(path);
    return status;
}

mu_status_t mu_ask_many(const mu_ask_t *ask, int model, const mu_args_t *keys, const mu_args_t *words,
                        mu_ask_take_t take, void *arg)
{
    mu_checkpoint_t *checkpoint;
    MU_TRY(check(ask, model));
    MU_TRY(mu_checkpoint_newest(ask->on->models.item[model], INT64_MAX, &checkpoint));
    if (!checkpoint)
        return mu_foreign_refuse(NULL, ask->on->models.item[model]);
    char *dir = !ask->on->run_dir           ? mu_format("%s/../%s-%lld", mu_checkpoint_path(checkpoint),
                                                        ask->command->name, (long long)getpid())
                : ask->on->models.count > 1 ? mu_format("%s/%d", ask->on->run_dir, model + 1)
                                            : mu_strdup(ask->on->run_dir);
    mu_status_t status = run(ask, checkpoint, dir, keys, words, take, arg);
    mu_checkpoint_close(checkpoint);
    if ((status == MU_OK || status == MU_GATE) && !ask->on->run_dir) {
        mu_status_t removed = mu_remove_tree(dir);
        status = status == MU_OK ? removed : status;
    }
    free(dir);
    return status;
}

mu_status_t mu_ask(const mu_command_t *command, int argc, char **argv, void *args, const mu_model_args_t *on,
                   mu_status_t (*many)(const mu_ask_t *ask))
{
    mu_ask_t ask = {.command = command, .args = args, .on = on};
    bool help;
    mu_status_t status = mu_options_parse(command, argc, argv, args, &ask.own, &help);
    if (status == MU_OK && !help)
        status = on->hosts || on->hostfile || on->workers > 0 ? many(&ask) : ask_one(&ask);
    mu_args_free(&ask.own);
    mu_options_release(command, args);
    return status;
}
