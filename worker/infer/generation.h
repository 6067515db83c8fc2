/*
 * `muster generate`: text that continues a prompt, in one process (verb_generate.c) or by a world of 1 + N ranks
 * (generate_world.c) whose first replica holds the model.
 *
 *     mu_generation_begin(&model, config, &asked, &g);           needs no weights
 *     mu_generation_run(&g, net, group, take, arg);              every worker of the replica
 *     mu_generation_end(&g);
 */
#ifndef MU_WORKER_GENERATION_H
#define MU_WORKER_GENERATION_H

#include "common/commands/model_commands.h"
#include "dataset/tokenizer/tokenizer.h"
#include "worker/infer/inference_model.h"
#include "worker/infer/sample.h"

typedef struct mu_generation {
    mu_ids_t prompt;
    int64_t least, most;     /* new tokens */
    const mu_words_t *stops; /* the asked ones; NULL: none */
    mu_decoder_t *decoder;   /* of what is written, to find stops */
    mu_buf_t written;
    mu_sampler_t *sampler;
    int32_t end[MU_END_TOKENS]; /* each ends the text */
    int ends;                   /* how many; 0: none does */
} mu_generation_t;

/* The prompt in tokens, and how to go on; what is not asked is config's. Errors: MU_NOINPUT (no tokenizer), MU_USAGE
 * (the prompt is empty or longer than the model's positions; a bad option). */
mu_status_t mu_generation_begin(const mu_inference_model_t *model, const mu_config_t *config,
                                const mu_generate_t *asked, mu_generation_t *out);
void mu_generation_end(mu_generation_t *g); /* one filled with zeros is nothing */

/* Called with each new token as it comes. */
typedef mu_status_t (*mu_generation_take_t)(void *arg, int32_t id);
/* Up to g->most tokens, or to the end of the text, which is not taken, or to a stop, whose last token is. `group`: the
 * net's tp group, for the memory of the host; its first member chooses for all, so that no two can differ.
 * tp-collective. Errors: those of the net and of `take`; MU_DATA, the logits are not numbers. */
mu_status_t mu_generation_run(mu_generation_t *g, mu_net_t *net, mu_comm_t *group, mu_generation_take_t take,
                              void *arg);

/* A rank of a generating world: run->generate on the model in config's load. The controller writes prompt and
 * text to RUN/result. */
mu_status_t mu_generate_rank(mu_run_t *run);

#endif
