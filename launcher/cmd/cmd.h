/*
 * The verbs of `muster`, one file each: parse by the verb's table (common/options.h), call, print.
 *
 * argv[0] of a verb is its name. The result goes to stdout, the talk to the log. Every verb may return MU_USAGE, and
 * MU_IO when its result does not reach stdout.
 */
#ifndef MU_LAUNCHER_CMD_H
#define MU_LAUNCHER_CMD_H

#include "common/options.h"
#include "common/status.h"

/* What a configuration means, key by key, and all keys that there are. A configuration without the keys that a run
 * needs is shown as it is, and what it lacks is logged; with --workers it is an error. Errors: those of
 * mu_config_load() and mu_config_resolve(). */
extern const mu_command_t mu_config_command;
mu_status_t mu_cmd_config(int argc, char **argv);

/* Text to a prepared data set (dataset/prepare/shards.h). Errors: MU_CONFIG (the files, the tokenizer's size against
 * them, the split); MU_NOINPUT and MU_DATA (an input, the tokenizer, a split that comes out empty); MU_RUNDIR (the
 * output); MU_IO. */
extern const mu_command_t mu_prepare_command;
mu_status_t mu_cmd_prepare(int argc, char **argv);

/* docs/tokenizer.md. Errors: MU_NOINPUT, MU_DATA, MU_RUNDIR, MU_IO. */
extern const mu_command_t mu_tokenizer_train_command, mu_tokenizer_encode_command,
    mu_tokenizer_decode_command;
mu_status_t mu_cmd_tokenizer(int argc, char **argv);

/* A run, from hosts to the last exit code: launcher/run/run.h. The table is mu_run_command of run_plan.h. */
mu_status_t mu_cmd_run(int argc, char **argv);

/* What a config asks for, before anything runs. Errors: MU_CONFIG, also when it does not fit the memory. */
extern const mu_command_t mu_plan_command;
mu_status_t mu_cmd_plan(int argc, char **argv);

/* Readiness and preflight; trains nothing. */
extern const mu_command_t mu_check_command;
mu_status_t mu_cmd_check(int argc, char **argv);

/* Writes RUN_DIR/stop, from any host that sees the directory. Returns once the launcher has ended, or says what is
 * still going on after two minutes. */
extern const mu_command_t mu_stop_command;
mu_status_t mu_cmd_stop(int argc, char **argv);

/* What run.json says, and whether the run's launcher lives. Errors: MU_NOINPUT (no run there), MU_DATA, MU_IO; with
 * --exit-status the run's own status, MU_DIED when its launcher is gone. */
extern const mu_command_t mu_status_command;
mu_status_t mu_cmd_status(int argc, char **argv);

/* Runs side by side. Errors: MU_NOINPUT (no run there), MU_DATA, MU_IO. */
extern const mu_command_t mu_compare_command;
mu_status_t mu_cmd_compare(int argc, char **argv);

/* The points of a run to MLflow, TensorBoard, Prometheus (launcher/track/track.h). */
extern const mu_command_t mu_track_command;
mu_status_t mu_cmd_track(int argc, char **argv);

/* The files that run a config under Slurm or Kubernetes (launcher/render/render.h). */
extern const mu_command_t mu_render_command;
mu_status_t mu_cmd_render(int argc, char **argv);

/* What a checkpoint, a run directory or a prepared data set holds. Errors: MU_NOINPUT (nothing there that muster
 * knows); MU_DATA (a checkpoint or data set is damaged); MU_NOVALID (a run whose checkpoints are all damaged). */
extern const mu_command_t mu_inspect_command;
mu_status_t mu_cmd_inspect(int argc, char **argv);

/* Without host options one process; with them as many replicas as fit, or one that is divided among the workers
 * (launcher/cmd/ask.h). Their tables are those of common/commands/model_commands.h. */
mu_status_t mu_cmd_eval(int argc, char **argv);
mu_status_t mu_cmd_generate(int argc, char **argv);

/* A server in front of an engine that is a child (launcher/serve/serve.h). Its table is mu_serve_command of
 * common/commands/serve_commands.h. */
mu_status_t mu_cmd_serve(int argc, char **argv);

/* muster-worker exports, then the directory becomes a version of a registered model (launcher/track/register.h). Its
 * table is mu_export_command of common/commands/convert_commands.h. */
mu_status_t mu_cmd_export(int argc, char **argv);

/* The script that completes `muster` in a shell: `muster completion bash`. */
extern const mu_command_t mu_completion_command;
mu_status_t mu_cmd_completion(int argc, char **argv);

/* A man page, for the installation: `muster man` is muster(1), `muster man plan` is muster-plan(1), and `muster man
 * --list` the names of all. */
extern const mu_command_t mu_man_command;
mu_status_t mu_cmd_man(int argc, char **argv);

/* All tables, in the order of `muster --help`; NULL ends them. A verb of several words has one for each. */
extern const mu_command_t *const mu_commands[];

#endif
