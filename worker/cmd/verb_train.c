#include "common/buf.h"
#include "common/run/completion.h"
#include "common/file.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/train/controller.h"
#include "worker/infer/evaluation.h"
#include "worker/infer/generation.h"
#include "worker/serve/engine.h"
#include "worker/guard/guard.h"
#include "worker/train/startup_handshake.h"
#include "worker/comm/yielding_wait.h"
#include "worker/train/trainer.h"
#include "worker/cmd/verbs.h"

static int64_t environment_number(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);
    int64_t value;
    return text && mu_parse_i64(text, &value) ? value : otherwise;
}

/* CONFIG... [key=value...]; from `muster eval`: --eval SPLIT [--json] [--gated] [--labelled FILE] [--delimiter TEXT];
 * from `muster generate` and `muster serve`: --generate or --serve and what its own process takes, up to the end; the
 * model is that of load. */
static mu_status_t read_arguments(int argc, char **argv, mu_run_t *run, mu_generate_t *generate,
                                  mu_serve_args_t *serve, mu_config_t **config)
{
    char **paths = mu_calloc((size_t)argc, sizeof *paths),
         **overrides = mu_calloc((size_t)argc, sizeof *overrides);
    int npaths = 0, noverrides = 0;
    bool help;
    mu_status_t status = MU_OK;
    for (int i = 1; i < argc && status == MU_OK; i++) {
        if (strcmp(argv[i], "--eval") == 0 && i + 1 < argc) {
            run->eval = true;
            status = mu_data_split_parse(argv[++i], &run->eval_split);
        } else if (strcmp(argv[i], "--generate") == 0) {
            run->generate = generate;
            status = mu_options_parse_worker(&mu_generate_command, argc - i, argv + i, generate, &help);
            break;
        } else if (strcmp(argv[i], "--serve") == 0) {
            run->serve = serve;
            status = mu_options_parse_worker(&mu_serve_command, argc - i, argv + i, serve, &help);
            break;
        } else if (strcmp(argv[i], "--labelled") == 0 && i + 1 < argc)
            run->eval_labelled = argv[++i];
        else if (strcmp(argv[i], "--delimiter") == 0 && i + 1 < argc)
            run->eval_delimiter = argv[++i];
        else if (strcmp(argv[i], "--json") == 0)
            run->eval_json = true;
        else if (strcmp(argv[i], "--gated") == 0)
            run->eval_gated = true;
        else if (mu_config_is_override(argv[i]))
            overrides[noverrides++] = argv[i];
        else
            paths[npaths++] = argv[i];
    }
    if (status == MU_OK)
        status = npaths == 0
                     ? mu_fail(MU_USAGE, "usage: mpirun -np N+1 muster-worker CONFIG... [key=value...]")
                     : mu_config_load(paths, npaths, overrides, noverrides, config);
    free(paths);
    free(overrides);
    return status;
}

static mu_status_t prepare_run(mu_run_t *run)
{
    const char *dir = getenv(MU_ENV_RUN_DIR);
    run->dir = dir ? dir : run->config->save;
    run->attempt = (int)environment_number(MU_ENV_ATTEMPT, 0);
    run->watched = getenv(MU_ENV_RUN_TOKEN) != NULL;
    run->copies_dir = run->config->muster.peer_checkpoint ? getenv(MU_ENV_COPIES_DIR) : NULL;
    if (run->copies_dir && (strncmp(run->copies_dir, "/dev/shm/muster-", strlen("/dev/shm/muster-")) != 0 ||
                            strstr(run->copies_dir, "..")))
        return mu_fail(MU_USAGE, MU_ENV_COPIES_DIR "='%s': not a folder made for this run", run->copies_dir);
    if (!run->dir)
        return mu_fail(MU_CONFIG, "save is not set: name the run directory");
    return MU_OK;
}

/* The controller's last act: without this record no launcher ends with 0 (common/run/completion.h). */
static mu_status_t record_end(const mu_run_t *run, mu_status_t status)
{
    if (status != MU_OK && status != MU_STOPPED)
        return status;
    mu_completion_t end = {.status = status,
                           .attempt = run->attempt,
                           .begun = run->begun,
                           .step = run->step,
                           .checkpoint = run->checkpoint};
    mu_status_t written = mu_completion_write(run->dir, &end);
    return written == MU_OK ? status : MU_IO;
}

/* What every rank does between MPI_Init and MPI_Finalize. */
static mu_status_t take_part(mu_run_t *run, mu_config_t *config)
{
    int size, rank;
    mu_groups_t groups;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (size < 2)
        return mu_fail(MU_CONFIG, "a world of one rank has no worker: start 1 controller and N workers with "
                                  "mpirun -np N+1, or use `muster run`");
    mu_world_t world = {.workers = size - 1,
                        .device_has_fp16 = true}; /* the opening says what the device has */
    mu_log_level_t level = run->config->muster.log_level;
    mu_log_level_set(
        rank == 0 || level < MU_LOG_WARN ? level : MU_LOG_WARN); /* the controller says the first lines */
    MU_TRY(mu_config_resolve(config, &world));
    if (rank == 0)
        MU_TRY(mu_make_dirs(run->dir, 0700));
    MU_TRY(mu_groups_make(run->config->tp, run->config->dp, run->page, &groups));
    run->groups = &groups;
    mu_status_t status = run->eval           ? mu_eval_rank(run)
                         : run->generate     ? mu_generate_rank(run)
                         : run->serve        ? mu_engine_rank(run)
                         : groups.controller ? mu_controller_run(run)
                         : groups.idle       ? mu_handshake_idle(run)
                                             : mu_trainer_run(run);
    if (groups.controller)
        status = record_end(run, status);
    bool orderly = groups.controller ? status == MU_OK || run->orderly : status == MU_OK;
    if (!orderly) {
        char newest[512]; /* the last line is what the launcher's end quotes */
        mu_log_newest_error(newest, sizeof newest);
        mu_error("rank %d ends the run: %s", rank, *newest ? newest : mu_status_text(status));
        MPI_Abort(MPI_COMM_WORLD, mu_status_exit(status));
    }
    MU_TRY(mu_yielding_barrier(groups.control, "waiting for all ranks to end"));
    mu_groups_free(&groups);
    return status;
}

mu_status_t mu_verb_train(int argc, char **argv)
{
    mu_guard_config_t guard = {.config_path = argc > 1 ? argv[1] : NULL};
    mu_run_t run = {.checkpoint = -1};
    mu_generate_t generate = MU_GENERATE_INIT;
    mu_serve_args_t serve = MU_SERVE_ARGS_INIT;
    mu_config_t *config = NULL;
    int provided;
    char tag[32];
    mu_status_t status;
    MU_TRY(mu_guard_start(&guard, &run.page));
    snprintf(tag, sizeof tag, "rank %lld",
             (long long)environment_number("OMPI_COMM_WORLD_RANK", environment_number("PMIX_RANK", 0)));
    mu_log_tag(tag);
    MU_TRY_GOTO(status, read_arguments(argc, argv, &run, &generate, &serve, &config), out);
    run.config = config;
    MU_TRY_GOTO(status, prepare_run(&run), out);
    mu_page_phase(run.page, MU_PHASE_MPI_INIT);
    mu_comm_mpi_prepare();
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
        status = mu_fail(MU_NETWORK, "MPI_Init failed");
        goto out;
    }
    status = take_part(&run, config);
    MPI_Finalize();
out:
    if (run.page)
        atomic_store(&run.page->status, (int32_t)status);
    mu_options_release(&mu_generate_command, &generate);
    mu_options_release(&mu_serve_command, &serve);
    mu_config_free(run.config);
    return status;
}
