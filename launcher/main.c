/* muster VERB ARGS...: a table of verbs, and nothing else. */
#include "common/log.h"
#include "common/stdio_setup.h"
#include "launcher/cmd/cmd_check.h"
#include "launcher/cmd/cmd_compare.h"
#include "launcher/cmd/cmd_config.h"
#include "launcher/cmd/cmd_eval.h"
#include "launcher/cmd/cmd_generate.h"
#include "launcher/cmd/cmd_inspect.h"
#include "launcher/cmd/cmd_plan.h"
#include "launcher/cmd/cmd_prepare.h"
#include "launcher/cmd/cmd_render.h"
#include "launcher/run/cmd_run.h"
#include "launcher/cmd/cmd_status.h"
#include "launcher/cmd/cmd_stop.h"
#include "launcher/cmd/cmd_tokenizer.h"
#include "launcher/cmd/cmd_track.h"
#include "launcher/run/cmd_worker.h"

typedef struct verb {
    const char *name, *summary;
    mu_status_t (*run)(int argc, char **argv); /* argv[0] is the verb */
} verb_t;

static const verb_t verbs[] = {
    {"config", "effective values with their origin; all keys", mu_cmd_config},
    {"prepare", "text into token shards", mu_cmd_prepare},
    {"tokenizer", "train a tokenizer; text to ids and back", mu_cmd_tokenizer},
    {"plan", "what a run needs and how long it takes, from the config alone", mu_cmd_plan},
    {"check", "can every host be reached, and is it fit? trains nothing", mu_cmd_check},
    {"run", "train: wait for the hosts, start, watch, restart", mu_cmd_run},
    {"status", "how a run is going", mu_cmd_status},
    {"compare", "runs side by side, as a table and as a page with curves", mu_cmd_compare},
    {"track", "the points of a run as TensorBoard files", mu_cmd_track},
    {"stop", "save a checkpoint, then end a run", mu_cmd_stop},
    {"render", "the files that run a config under Slurm or Kubernetes", mu_cmd_render},
    {"inspect", "what a checkpoint, a run or a data set holds; is it whole?", mu_cmd_inspect},
    {"eval", "mean loss of a checkpoint on a data set", mu_cmd_eval},
    {"generate", "text from a checkpoint and a prompt", mu_cmd_generate},
    {"import", "a Hugging Face model into a checkpoint", mu_cmd_worker},
    {"export", "a checkpoint into a Hugging Face model", mu_cmd_worker},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void help(FILE *out)
{
    fprintf(out, "usage: muster VERB ARGS...\n\n");
    for (int i = 0; i < VERBS; i++)
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(out, "\nmuster VERB --help says more about one; muster --version\n"
                 "exit codes: docs/exit-codes.md\n");
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
    if (strcmp(argv[1], "--version") == 0) {
        printf("muster %s\n", MU_VERSION);
        return MU_OK;
    }
    for (int i = 0; i < VERBS; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    return mu_fail(MU_USAGE, "no verb '%s': muster --help lists them", argv[1]);
}

int main(int argc, char **argv)
{
    mu_stdio_begin();
    return mu_status_exit(mu_stdio_end(obey(argc, argv)));
}
