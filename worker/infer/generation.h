/*
 * `muster generate`: text that continues a prompt, in one process (verb_generate.c) or by a world of 1 + N ranks
 * (generate_world.c) whose first replica holds the model.
 *
 *     mu_generate_parse(argc, argv, &asked);
 *     mu_generation_begin(&model, config, &asked, &g);           needs no weights
 *     mu_generation_run(&g, net, group, take, arg);              every worker of the replica
 *     mu_generation_end(&g);
 */
#ifndef MU_WORKER_GENERATION_H
#define MU_WORKER_GENERATION_H

#include "dataset/tokenizer/tokenizer.h"
#include "worker/infer/inference_model.h"
#include "worker/infer/sample.h"

/* The command line. */
typedef struct mu_generate {
    const char *checkpoint, *prompt;
    char **overrides; /* key=value; free() it */
    int noverrides;
    int64_t max_new_tokens, threads; /* max_new_tokens -1: the configuration's; threads 0: all cores */
    mu_sampling_t sampling;
    bool sampling_given, help;
    bool check;    /* only whether it could begin, for a launcher */
    int64_t bench; /* requests to time; 0: none */
    bool json;     /* of the bench: one JSON object */
} mu_generate_t;

typedef struct mu_generation {
    mu_ids_t prompt;
    int64_t most; /* new tokens */
    mu_sampler_t *sampler;
    int32_t end[MU_END_TOKENS]; /* each ends the text */
    int ends;                   /* how many; 0: none does */
} mu_generation_t;

extern const char mu_generate_usage[];

/* Options, a checkpoint, key=value; argv[0] is the verb. `out` points into argv. Errors: MU_USAGE. */
mu_status_t mu_generate_parse(int argc, char **argv, mu_generate_t *out);

/* The prompt in tokens, and how to go on; what is not asked is config's. Errors: MU_NOINPUT (no tokenizer), MU_USAGE (the prompt is empty or
 * longer than the model's positions; a bad option). */
mu_status_t mu_generation_begin(const mu_inference_model_t *model, const mu_config_t *config,
                                const mu_generate_t *asked, mu_generation_t *out);
void mu_generation_end(mu_generation_t *g); /* one filled with zeros is nothing */

/* Called with each new token as it comes. */
typedef mu_status_t (*mu_generation_take_t)(void *arg, int32_t id);
/* Up to g->most tokens, or to the end of the text, which is not taken. `group`: the net's tp group, for the
 * memory of the host; its first member chooses for all, so that no two can differ. tp-collective. Errors:
 * those of the net and of `take`; MU_DATA, the logits are not numbers. */
mu_status_t mu_generation_run(mu_generation_t *g, mu_net_t *net, mu_comm_t *group, mu_generation_take_t take,
                              void *arg);

/* A rank of a generating world: run->generate on the model in config's load. The controller writes prompt and
 * text to RUN/result. */
mu_status_t mu_generate_rank(mu_run_t *run);

#endif
