/*
 * Reading a config.json key by key, for worker/convert/hf_config*.c: values checked for type and range, the first
 * error kept, and our YAML written as they come. And how a number is written into one.
 */
#ifndef MU_WORKER_HF_READER_H
#define MU_WORKER_HF_READER_H

#include "common/buf.h"
#include "common/status.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mu_hf_reader {
    const char *name; /* the file, for messages */
    const json_t *root;
    mu_buf_t *yaml;
    mu_status_t status; /* the first error */
} mu_hf_reader_t;

/* Keeps the first error; MU_OK is nothing. */
void mu_hf_set(mu_hf_reader_t *r, mu_status_t status);
/* NULL for null too, which is as good as absent, as in Transformers. */
const json_t *mu_hf_get(const json_t *object, const char *key);
/* From 1; `otherwise` where the key is absent, 0: it must be there. Out of `object`, whose name is `in` ("" for the
 * root). */
int64_t mu_hf_count(mu_hf_reader_t *r, const char *key, int64_t otherwise);
double mu_hf_number(mu_hf_reader_t *r, const json_t *object, const char *key, double otherwise);
bool mu_hf_flag(mu_hf_reader_t *r, const char *key, bool otherwise);
/* A setting that changes what the model computes and that we have one value of. */
void mu_hf_only(mu_hf_reader_t *r, const char *key, bool want);
/* The object under `key`; NULL where it is absent. */
const json_t *mu_hf_object(mu_hf_reader_t *r, const char *key);
/* rope_type, or type as old files have it; "default" where neither is there. */
const char *mu_hf_rope_type(const json_t *rope);
/* What every class has: dimensions, positions, vocabulary, the width of initial weights. */
void mu_hf_common(mu_hf_reader_t *r, int64_t layers, int64_t hidden, int64_t heads, int64_t ffn,
                  int64_t positions, int64_t seq_length);

/* "name": 0.1, with a point or an exponent: Transformers warns of a setting of floats that is an integer. */
void mu_hf_number_write(const char *name, double value, mu_buf_t *out);

#endif
