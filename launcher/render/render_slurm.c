#include "common/args.h"
#include "common/launch_env.h"
#include "launcher/render/render.h"
#include "launcher/render/render_impl.h"

/* slurm/muster.sbatch from its first command on; a test holds the two together. */
const char mu_slurm_body[] =
    "set -u\n"
    "\n"
    "restarts=${SLURM_RESTART_COUNT:-0}\n"
    "limit=${" MU_ENV_REQUEUES ":-100}\n"
    "near_end=0\n"
    "muster=\n"
    "end_near() {\n"
    "    near_end=1\n"
    "    [ -z \"$muster\" ] || kill -USR1 \"$muster\" 2>/dev/null\n"
    "}\n"
    "cancelled() {\n"
    "    [ -z \"$muster\" ] || kill -TERM \"$muster\" 2>/dev/null\n"
    "}\n"
    "trap end_near USR1\n"
    "trap cancelled TERM\n"
    "\n"
    "echo \"job $SLURM_JOB_ID, start $((restarts + 1)), on $SLURM_JOB_NODELIST\" >&2\n"
    "\"${MUSTER:-muster}\" run \"$@\" &\n"
    "muster=$!\n"
    "# a signal ends `wait` before muster has ended\n"
    "while kill -0 \"$muster\" 2>/dev/null; do\n"
    "    wait \"$muster\"\n"
    "done\n"
    "wait \"$muster\"\n"
    "code=$?\n"
    "\n"
    "if [ \"$code\" -eq 75 ] && [ \"$near_end\" -eq 1 ]; then\n"
    "    if [ \"$restarts\" -lt \"$limit\" ]; then\n"
    "        echo \"checkpoint saved before the time limit: back into the queue\" >&2\n"
    "        scontrol requeue \"$SLURM_JOB_ID\" && exit 75\n"
    "        echo \"scontrol requeue failed: submit the same command again to go on\" >&2\n"
    "    else\n"
    "        echo \"checkpoint saved; started $((restarts + 1)) times already: submit the same command again "
    "to go on\" >&2\n"
    "    fi\n"
    "fi\n"
    "exit \"$code\"\n";

static void option(const mu_params_t *params, const char *name, const char *flag, mu_buf_t *out)
{
    const char *value = mu_params_text(params, name);
    if (value)
        mu_buf_addf(out, "#SBATCH --%s=%s\n", flag, value);
}

void mu_render_slurm(const mu_params_t *params, char *const *arguments, int count, mu_buf_t *out)
{
    const char *name = mu_params_text(params, "name"), *log = mu_params_text(params, "log");
    mu_args_t words = {0};
    mu_args_add(&words, "--");
    for (int i = 0; i < count; i++)
        mu_args_add(&words, arguments[i]);
    mu_buf_addf(out, "#!/bin/bash\n# Written by `muster render slurm`. Submit with: sbatch THIS-FILE\n");
    mu_buf_addf(out, "#SBATCH --job-name=%s\n", name);
    option(params, "nodes", "nodes", out);
    option(params, "tasks_per_node", "ntasks-per-node", out);
    option(params, "gpus", "gpus-per-node", out);
    option(params, "cpus_per_task", "cpus-per-task", out);
    if (!mu_params_text(params, "cpus_per_task"))
        mu_buf_adds(out, "#SBATCH --exclusive\n");
    option(params, "partition", "partition", out);
    option(params, "account", "account", out);
    option(params, "qos", "qos", out);
    option(params, "time", "time", out);
    mu_buf_addf(out, "#SBATCH --signal=B:USR1@%s\n", mu_params_text(params, "signal_seconds"));
    mu_buf_adds(out, "#SBATCH --requeue\n#SBATCH --open-mode=append\n");
    mu_buf_addf(out, "#SBATCH --output=%s%s\n", log ? log : name, log ? "" : "-%j.log");
    mu_buf_addf(out, "MUSTER=%s\n" MU_ENV_REQUEUES "=%s\nset ", mu_params_text(params, "muster"),
                mu_params_text(params, "requeues"));
    mu_args_quote(&words, out);
    mu_buf_addf(out, "\n%s", mu_slurm_body);
    mu_args_free(&words);
}
