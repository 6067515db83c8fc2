#include "common/log.h"
#include "common/stdio_setup.h"
#include "common/version.h"
#include "worker/probe/probe.h"
#include "worker/cmd/verbs.h"

static const char usage[] =
    "usage: mpirun -np N+1 muster-worker CONFIG... [key=value...]   a controller and N workers, by hand\n"
    "       muster-worker --drain RUN_DIR [SECONDS]                 this host goes: save, and end its ranks\n"
    "       muster-worker --probe                                   what `muster` asks of a host\n"
    "\n"
    "`muster run` starts the ranks with mpirun, watches them and starts them again. By hand the config must "
    "name\n"
    "`save`, the run directory. The verbs eval, generate, import, export and serve are muster's.\n";

static mu_status_t obey(int argc, char **argv)
{
    static const struct {
        const char *name;
        mu_status_t (*run)(int argc, char **argv);
    } verbs[] = {
        {"eval", mu_verb_eval},     {"export", mu_verb_export}, {"generate", mu_verb_generate},
        {"import", mu_verb_import}, {"serve", mu_verb_serve},
    };
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        fputs(usage, stdout);
        return mu_stdio_end(MU_OK);
    }
    if (strcmp(word, "--version") == 0)
        return mu_stdio_end(mu_version_print(argc, argv, "muster-worker"));
    if (argc == 2 && strcmp(word, "--probe") == 0)
        return mu_probe_main();
    if (strcmp(word, "--drain") == 0)
        return mu_verb_drain(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(word, verbs[i].name) == 0)
            return mu_stdio_end(verbs[i].run(argc - 1, argv + 1));
    if (*word == '\0' || *word == '-')
        return mu_fail(MU_USAGE,
                       *word ? "no option '%s': see muster-worker --help"
                             : "no CONFIG given%s: see muster-worker --help",
                       word);
    return mu_verb_train(argc, argv);
}

int main(int argc, char **argv)
{
    mu_stdio_begin();
    return mu_status_exit(obey(argc, argv));
}
