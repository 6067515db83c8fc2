#include "launcher/cmd_eval.h"
#include "common/config.h"
#include "common/file.h"
#include "common/log.h"
#include "dataset/dataset.h"
#include "launcher/cmd_run.h"
#include "launcher/cmd_worker.h"
#include "worker/checkpoint/reader.h"

#include <errno.h>
#include <getopt.h>
#include <unistd.h>

typedef struct request {
    const char *checkpoint, *data, *split, *seq_length, *threads, *run_dir, *hosts, *hostfile, *workers;
    char **overrides;
    int noverrides;
    bool json, help;
} request_t;

static mu_status_t parse(int argc, char **argv, request_t *r)
{
    /* the first ones have a value, in the order of `value` */
    static const struct option longs[] = {{"data", required_argument, 0, 0},
                                          {"split", required_argument, 0, 0},
                                          {"threads", required_argument, 0, 0},
                                          {"run-dir", required_argument, 0, 0},
                                          {"hosts", required_argument, 0, 0},
                                          {"hostfile", required_argument, 0, 0},
                                          {"workers", required_argument, 0, 0},
                                          {"seq-length", required_argument, 0, 0},
                                          {"json", no_argument, 0, 'j'},
                                          {"help", no_argument, 0, 'h'},
                                          {0, 0, 0, 0}};
    const char **value[] = {&r->data,  &r->split,    &r->threads, &r->run_dir,
                            &r->hosts, &r->hostfile, &r->workers, &r->seq_length};
    for (int opt, which; (opt = getopt_long(argc, argv, "h", longs, &which)) != -1;) {
        if (opt == 0)
            *value[which] = optarg;
        else if (opt == 'j')
            r->json = true;
        else if (opt == 'h')
            r->help = true;
        else
            return mu_fail(MU_USAGE, "see `muster eval --help`");
    }
    r->overrides = mu_calloc((size_t)argc, sizeof *r->overrides);
    for (int i = optind; i < argc; i++) {
        if (mu_config_is_override(argv[i]))
            r->overrides[r->noverrides++] = argv[i];
        else if (!r->checkpoint)
            r->checkpoint = argv[i];
        else
            return mu_fail(MU_USAGE, "eval: one checkpoint at a time, not '%s' and '%s'", r->checkpoint,
                           argv[i]);
    }
    return MU_OK;
}

static mu_status_t in_one_process(const request_t *r)
{
    mu_args_t args = {0};
    if (r->noverrides > 0)
        return mu_fail(MU_USAGE, "eval: '%s' means something with --hosts, --hostfile or --workers only",
                       r->overrides[0]);
    mu_args_add(&args, "eval");
    const struct {
        const char *name, *value;
    } option[] = {{"--data", r->data},
                  {"--split", r->split},
                  {"--seq-length", r->seq_length},
                  {"--threads", r->threads}};
    for (size_t i = 0; i < sizeof option / sizeof *option; i++)
        if (option[i].value)
            mu_args_addf(&args, "%s=%s", option[i].name, option[i].value);
    if (r->json)
        mu_args_add(&args, "--json");
    if (r->help)
        mu_args_add(&args, "--help");
    mu_args_add(&args, "--");
    if (r->checkpoint)
        mu_args_add(&args, r->checkpoint);
    mu_status_t status = mu_cmd_worker(args.n, args.v);
    mu_args_free(&args);
    return status;
}

static mu_status_t whole_path(const char *path, char **out)
{
    *out = realpath(path, NULL);
    return *out ? MU_OK : mu_fail(MU_NOINPUT, "%s: %s", path, strerror(errno));
}

/* A prepared directory, or the prefix of a pair, of which the .idx is there. */
static mu_status_t data_path(const char *path, char **out)
{
    if (mu_is_dir(path))
        return whole_path(path, out);
    char *index = mu_format("%s.idx", path), *whole = NULL;
    mu_status_t status = whole_path(index, &whole);
    if (status == MU_OK) {
        whole[strlen(whole) - strlen(".idx")] = '\0';
        *out = whole;
    }
    free(index);
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
    return status == MU_OK ? MU_OK : MU_RUNDIR;
}

/* The command line of a run with these hosts. Micro batches of one on as many replicas as there are: an
 * evaluation divides any number of sequences among them. */
static void run_line(const request_t *r, const char *model, const char *checkpoint, const char *data,
                     const char *dir, mu_args_t *args)
{
    static const char *const fixed[] = {"finetune=true",
                                        "train_batch_size=null",
                                        "train_micro_batch_size_per_gpu=1",
                                        "gradient_accumulation_steps=1",
                                        "hostfile=null",
                                        "muster.max_restarts=0"};
    mu_args_add(args, "run");
    mu_args_add(args, model);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        mu_args_add(args, fixed[i]);
    if (r->threads)
        mu_args_addf(args, "muster.threads_per_worker=%s", r->threads);
    for (int i = 0; i < r->noverrides; i++)
        mu_args_add(args, r->overrides[i]);
    if (r->seq_length)
        mu_args_addf(args, "seq_length=%s", r->seq_length);
    mu_args_addf(args, "load=%s", checkpoint);
    mu_args_addf(args, "data_path=%s", data);
    mu_args_addf(args, "--run-dir=%s", dir);
    if (r->hosts)
        mu_args_addf(args, "--hosts=%s", r->hosts);
    if (r->hostfile)
        mu_args_addf(args, "--hostfile=%s", r->hostfile);
    if (r->workers)
        mu_args_addf(args, "--workers=%s", r->workers);
}

static mu_status_t print_result(const char *dir)
{
    char *path = mu_path_join(dir, "result");
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_file_read(path, 1 << 20, &text);
    if (status == MU_OK && (fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0))
        status = mu_fail(MU_IO, "stdout: cannot write");
    mu_buf_release(&text);
    free(path);
    return status;
}

static mu_status_t by_many(const request_t *r, const mu_checkpoint_t *checkpoint, const char *dir)
{
    mu_args_t line = {0}, more = {0};
    char *model = NULL, *path = NULL, *data = NULL;
    mu_status_t status;
    MU_TRY_GOTO(status, whole_path(mu_checkpoint_path(checkpoint), &path), out);
    MU_TRY_GOTO(status, data_path(r->data, &data), out);
    MU_TRY_GOTO(status, write_model(checkpoint, dir, &model), out);
    run_line(r, model, path, data, dir, &line);
    mu_args_add(&more, "--eval");
    mu_args_add(&more, r->split ? r->split : "valid");
    if (r->json)
        mu_args_add(&more, "--json");
    MU_TRY_GOTO(status, mu_cmd_run_as(line.n, line.v, &more), out);
    status = print_result(dir);
out:
    mu_args_free(&line);
    mu_args_free(&more);
    free(model);
    free(path);
    free(data);
    return status;
}

static mu_status_t evaluate(const request_t *r)
{
    mu_checkpoint_t *checkpoint;
    mu_data_split_t split;
    if (r->split)
        MU_TRY(mu_data_split_parse(r->split, &split));
    if (!r->checkpoint || !r->data)
        return mu_fail(MU_USAGE, "eval needs one checkpoint and --data: see `muster eval --help`");
    MU_TRY(mu_checkpoint_newest(r->checkpoint, INT64_MAX, &checkpoint));
    if (!checkpoint)
        return mu_fail(MU_NOINPUT, "%s: there is no checkpoint", r->checkpoint);
    char *dir = r->run_dir
                    ? mu_strdup(r->run_dir)
                    : mu_format("%s/../eval-%lld", mu_checkpoint_path(checkpoint), (long long)getpid());
    mu_status_t status = by_many(r, checkpoint, dir);
    mu_checkpoint_close(checkpoint);
    if (status == MU_OK && !r->run_dir)
        status = mu_remove_tree(dir);
    free(dir);
    return status;
}

mu_status_t mu_cmd_eval(int argc, char **argv)
{
    request_t r = {0};
    mu_status_t status = parse(argc, argv, &r);
    if (status == MU_OK)
        status = r.help || !(r.hosts || r.hostfile || r.workers) ? in_one_process(&r) : evaluate(&r);
    free(r.overrides);
    return status;
}
