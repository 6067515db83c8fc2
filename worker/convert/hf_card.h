/*
 * README.md of an export, the model card: front matter that Hugging Face's tools read (base_model, datasets, metrics,
 * model-index), then the configuration, the data, the curve as numbers, and how to load the model.
 */
#ifndef MU_WORKER_HF_CARD_H
#define MU_WORKER_HF_CARD_H

#include "common/buf.h"

#include <jansson.h>
#include <stdint.h>

typedef struct mu_card {
    const char *name;  /* of the exported directory */
    const char *class; /* "GPTNeoXForCausalLM" */
    int64_t parameters;
    const json_t *model;       /* mu_lineage_model() */
    const char *config;        /* YAML; NULL: unknown */
    const char *run;           /* the run directory, for the curve; NULL: none */
    const json_t *evaluations; /* mu_card_evaluations() */
} mu_card_t;

/* The results in RUN/eval that are of the model with this digest, as a new list; run NULL: an empty one. What cannot be
 * read is left out with a warning. */
json_t *mu_card_evaluations(const char *run, const char *digest);
void mu_card_write(const mu_card_t *card, mu_buf_t *out);

#endif
