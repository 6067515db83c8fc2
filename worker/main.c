#include "common/log.h"
#include "worker/probe.h"
#include "worker/verbs.h"

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        mu_status_t (*run)(int argc, char **argv);
    } verbs[] = {
        {"eval", mu_verb_eval},
        {"export", mu_verb_export},
        {"generate", mu_verb_generate},
        {"import", mu_verb_import},
    };
    if (argc == 2 && strcmp(argv[1], "--probe") == 0)
        return mu_status_exit(mu_probe_main());
    if (argc > 1 && strcmp(argv[1], "--drain") == 0)
        return mu_status_exit(mu_verb_drain(argc - 1, argv + 1));
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return mu_status_exit(verbs[i].run(argc - 1, argv + 1));
    return mu_status_exit(mu_verb_train(argc, argv));
}
