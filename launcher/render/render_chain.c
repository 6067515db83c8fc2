/*
 * `render slurm chain=prepare,train,gate,export`: one script for bash that submits a job for each step. A job starts
 * after the one before it ended with 0; where that cannot happen any more, Slurm removes it.
 *
 * What is there is known by a digest over everything that a step was made from: its script, its options, the config
 * files, the input files' sizes and times, and the steps before it. A job that ended with 0 leaves its digest in
 * SAVE.chain/STEP.done.
 */
#include "common/args.h"
#include "common/gate.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "launcher/render/render.h"
#include "launcher/render/render_impl.h"

enum { IMPORT, PREPARE, TRAIN, GATE, EXPORT };

typedef struct chain {
    const mu_params_t *p;
    const mu_config_t *config;
    char *const *arguments; /* the files, absolute, then key=value */
    int nfiles, count;
    mu_buf_t *out;
} chain_t;

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == n && memcmp(at, word, n) == 0)
            return true;
    return false;
}

/* ---- what must be known ---- */

static mu_status_t want_path(const char *step, const char *key, const char *path)
{
    if (!path || !*path)
        return mu_fail(MU_CONFIG, "render: the step %s wants the config's %s: give %s=/a/shared/volume/...",
                       step, key, key);
    if (path[0] != '/')
        return mu_fail(MU_CONFIG, "render: %s '%s' is relative; the jobs of a chain want a whole path", key,
                       path);
    return MU_OK;
}

static mu_status_t want_param(const mu_params_t *p, const char *step, const char *name)
{
    const char *value = mu_params_text(p, name);
    bool is_path = strcmp(name, "gate") != 0;
    if (!value)
        return mu_fail(MU_USAGE, "render: the step %s wants %s=...: see muster render --help", step, name);
    if (is_path && value[0] != '/')
        return mu_fail(MU_USAGE, "render: %s '%s' is relative; the jobs of a chain want a whole path", name,
                       value);
    return MU_OK;
}

static mu_status_t check(const chain_t *c)
{
    const char *list = mu_params_text(c->p, "chain");
    MU_TRY(want_path("train", "save", c->config->save));
    if (has_word(list, "import")) {
        MU_TRY(want_param(c->p, "import", "base"));
        MU_TRY(want_path("import", "load", c->config->load));
    }
    if (has_word(list, "prepare")) {
        MU_TRY(want_param(c->p, "prepare", "input"));
        MU_TRY(want_path("prepare", "data_path", c->config->data_path));
    }
    if (has_word(list, "gate")) {
        MU_TRY(want_param(c->p, "gate", "gate"));
        MU_TRY(want_path("gate", "data_path", c->config->data_path));
    }
    return has_word(list, "export") ? want_param(c->p, "export", "export") : MU_OK;
}

/* ---- the script ---- */

static const char head[] =
    "set -euo pipefail\n"
    "\n"
    "fail() {\n"
    "    echo \"$1\" >&2\n"
    "    exit \"$2\"\n"
    "}\n"
    "mkdir -p \"$chain\"\n"
    "exec 9>\"$chain/lock\"\n"
    "flock -n 9 || fail \"$chain: another copy of this script submits just now\" 73\n"
    "queue=$(squeue --noheader --user \"$(id -un)\" --format %A) || fail \"squeue: Slurm does not answer\" "
    "69\n"
    "made=$(cat \"${configs[@]}\") || fail \"a config file is missing\" 66\n"
    "# a directory counts by its files\n"
    "[ ${#inputs[@]} -eq 0 ] || made+=$(find -L \"${inputs[@]}\" -type f -printf '%p %s %T@\\n' | LC_ALL=C "
    "sort) ||\n"
    "    fail \"inputs ${inputs[*]}: one is missing or cannot be read\" 66\n"
    "digest= previous=\n"
    "\n"
    "# submit STEP RESULT OPTION... <SCRIPT: prints the step and its job. RESULT: what is there when the "
    "step is done.\n"
    "submit() {\n"
    "    local step=$1 result=$2 script old= of= id state\n"
    "    shift 2\n"
    "    script=$(cat)\n"
    "    digest=$(printf '%s\\n' \"$digest\" \"$made\" \"$*\" \"$script\" | sha256sum | cut -d' ' -f1)\n"
    "    if [ -z \"$previous\" ] && [ -e \"$result\" ] && [ \"$(cat \"$chain/$step.done\" 2>/dev/null)\" = "
    "\"$digest\" ]; then\n"
    "        echo \"$step done\"\n"
    "        return\n"
    "    fi\n"
    "    [ ! -s \"$chain/$step.job\" ] || read -r old of <\"$chain/$step.job\"\n"
    "    if [ -n \"$old\" ] && grep -qx \"$old\" <<<\"$queue\"; then\n"
    "        [ \"$of\" = \"$digest\" ] ||\n"
    "            fail \"$step: job $old, which is in the queue, was made from something else: scancel $old "
    "first\" 73\n"
    "        echo \"$step $old queued\"\n"
    "        previous=$old\n"
    "        return\n"
    "    fi\n"
    "    [ -z \"$previous\" ] || set -- \"$@\" --dependency=afterok:\"$previous\" --kill-on-invalid-dep=yes\n"
    "    state=$(printf %q \"$chain/$step\")\n"
    "    id=$(sbatch --parsable \"$@\" <<END\n"
    "#!/bin/bash\n"
    "ended() {\n"
    "    code=\\$?\n"
    "    [ \\$code -ne 0 ] || { echo $digest >$state.new && mv $state.new $state.done; } || exit 74\n"
    "}\n"
    "trap ended EXIT\n"
    "$script\n"
    "END\n"
    "    ) || fail \"$step: sbatch failed\" 69\n"
    "    id=${id%%;*}\n"
    "    echo \"$id $digest\" >\"$chain/$step.job\"\n"
    "    echo \"$step $id\"\n"
    "    previous=$id\n"
    "}\n";

/* `word` for a shell. */
static void quote(const char *word, mu_buf_t *out)
{
    mu_args_t words = {0};
    mu_args_add(&words, word);
    mu_args_quote(&words, out);
    mu_args_free(&words);
}

static void add_list(const char *name, char *const *words, int count, mu_buf_t *out)
{
    mu_buf_addf(out, "%s=(", name);
    for (int i = 0; i < count; i++) {
        mu_buf_adds(out, i ? " " : "");
        quote(words[i], out);
    }
    mu_buf_adds(out, ")\n");
}

/* The words of a list with commas. */
static void split(const char *list, mu_args_t *out)
{
    for (const char *at = list ? list : ""; *at; at += *at == ',') {
        size_t n = strcspn(at, ",");
        mu_args_addf(out, "%.*s", (int)n, at);
        at += n;
    }
}

static void add_option(const chain_t *c, const char *param, const char *flag)
{
    const char *value = mu_params_text(c->p, param);
    if (value)
        mu_buf_addf(c->out, " --%s=%s", flag, value);
}

/* submit STEP RESULT OPTION..., and the beginning of its script */
static void begin(const chain_t *c, int step, const char *result, bool train, bool gpus)
{
    const mu_params_t *p = c->p;
    mu_buf_addf(c->out, "\nsubmit %s ", mu_chain_step[step]);
    quote(result, c->out);
    mu_buf_addf(c->out, " --job-name=%s-%s", mu_params_text(p, "name"), mu_chain_step[step]);
    if (train) {
        add_option(c, "nodes", "nodes");
        add_option(c, "tasks_per_node", "ntasks-per-node");
        add_option(c, "cpus_per_task", "cpus-per-task");
        if (!mu_params_text(p, "cpus_per_task"))
            mu_buf_adds(c->out, " --exclusive");
        add_option(c, "time", "time");
        add_option(c, "partition", "partition");
        mu_buf_addf(c->out, " --signal=B:USR1@%s --requeue", mu_params_text(p, "signal_seconds"));
    } else {
        mu_buf_adds(c->out, " --nodes=1 --ntasks=1");
        add_option(c, "step_cpus", "cpus-per-task");
        add_option(c, "step_time", "time");
        add_option(c, mu_params_text(p, "step_partition") ? "step_partition" : "partition", "partition");
    }
    if (gpus)
        add_option(c, "gpus", "gpus-per-node");
    add_option(c, "account", "account");
    add_option(c, "qos", "qos");
    mu_buf_addf(c->out, " \\\n    --open-mode=append --output=\"$chain/%s-%%j.log\" <<'END'\n",
                mu_chain_step[step]);
}

static void add_words(const chain_t *c, mu_args_t *words)
{
    mu_args_quote(words, c->out);
    mu_buf_adds(c->out, "\nEND\n");
    mu_args_free(words);
}

static void add_arguments(const chain_t *c, mu_args_t *words)
{
    for (int i = 0; i < c->count; i++)
        mu_args_add(words, c->arguments[i]);
}

static mu_args_t command(const chain_t *c, const char *verb)
{
    mu_args_t words = {0};
    mu_args_add(&words, mu_params_text(c->p, "muster"));
    mu_args_add(&words, verb);
    return words;
}

static char *model(const chain_t *c)
{
    return mu_format("%s@%s", c->config->save, mu_params_text(c->p, "model"));
}

static void add_import(const chain_t *c)
{
    mu_args_t words = command(c, "import");
    mu_args_add(&words, mu_params_text(c->p, "base"));
    mu_args_add(&words, "--output");
    mu_args_add(&words, c->config->load);
    begin(c, IMPORT, c->config->load, false, false);
    add_words(c, &words);
}

static void add_prepare(const chain_t *c)
{
    mu_args_t words = command(c, "prepare");
    char *result = mu_format("%s/manifest.json", c->config->data_path);
    add_arguments(c, &words);
    mu_args_add(&words, "--input");
    split(mu_params_text(c->p, "input"), &words);
    begin(c, PREPARE, result, false, false);
    add_words(c, &words);
    free(result);
}

static void add_train(const chain_t *c)
{
    char *result = mu_format("%s/complete.json", c->config->save);
    mu_args_t words = {0};
    mu_args_add(&words, "--");
    add_arguments(c, &words);
    begin(c, TRAIN, result, true, true);
    mu_buf_addf(c->out, "MUSTER=%s\n" MU_ENV_REQUEUES "=%s\nset ", mu_params_text(c->p, "muster"),
                mu_params_text(c->p, "requeues"));
    mu_args_quote(&words, c->out);
    mu_buf_addf(c->out, "\n%sEND\n", mu_slurm_body);
    mu_args_free(&words);
    free(result);
}

static void add_gate(const chain_t *c)
{
    mu_args_t words = command(c, "eval"), gates = {0};
    char *of = model(c), *result = mu_format("%s/eval", c->config->save);
    mu_args_add(&words, of);
    mu_args_add(&words, "--data");
    mu_args_add(&words, c->config->data_path);
    mu_args_addf(&words, "--split=%s", mu_params_text(c->p, "gate_split"));
    split(mu_params_text(c->p, "gate"), &gates);
    for (int i = 0; i < gates.n; i++)
        mu_args_addf(&words, "--gate=%s", gates.v[i]);
    if (mu_params_number(c->p, "gpus") > 1) /* the model's own width, on the GPUs of a node */
        mu_args_addf(&words, "--workers=%s", mu_params_text(c->p, "gpus"));
    begin(c, GATE, result, false, true);
    add_words(c, &words);
    mu_args_free(&gates);
    free(of);
    free(result);
}

static void add_export(const chain_t *c)
{
    mu_args_t words = command(c, "export");
    char *of = model(c), *result = mu_format("%s/config.json", mu_params_text(c->p, "export"));
    mu_args_add(&words, of);
    mu_args_add(&words, "--output");
    mu_args_add(&words, mu_params_text(c->p, "export"));
    begin(c, EXPORT, result, false, false);
    add_words(c, &words);
    free(of);
    free(result);
}

mu_status_t mu_render_chain(const mu_params_t *params, const mu_config_t *config, char *const *arguments,
                            int nfiles, int count, mu_buf_t *out)
{
    static void (*const add[MU_CHAIN_STEPS])(const chain_t *) = {add_import, add_prepare, add_train, add_gate,
                                                                 add_export};
    chain_t c = {params, config, arguments, nfiles, count, out};
    char *state = mu_format("%s.chain", config->save ? config->save : "");
    mu_args_t inputs = {0};
    mu_status_t status = check(&c);
    if (status == MU_OK) {
        const char *input = mu_params_text(params, "input"), *base = mu_params_text(params, "base");
        mu_buf_adds(
            out,
            "#!/bin/bash\n# Written by `muster render slurm chain=...`. Run it where sbatch works: bash "
            "THIS-FILE\n# It prints a line a step: STEP JOB, or STEP done. Run again, it submits what is "
            "not there.\nchain=");
        quote(state, out);
        mu_buf_addc(out, '\n');
        add_list("configs", arguments, nfiles, out);
        split(input, &inputs);
        if (base)
            mu_args_add(&inputs, base);
        add_list("inputs", inputs.v, inputs.n, out);
        mu_buf_adds(out, head);
        for (int i = 0; i < MU_CHAIN_STEPS; i++)
            if (has_word(mu_params_text(params, "chain"), mu_chain_step[i]))
                add[i](&c);
    }
    mu_args_free(&inputs);
    free(state);
    return status;
}
