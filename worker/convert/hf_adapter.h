/*
 * Adapters as PEFT has them: adapter_config.json, and the names and values of adapter_model.safetensors.
 *
 * A and B are as ours. GPT-2 keeps the outputs of query_key_value as [q, k, v][head][head_dim], so rows of its B lie in
 * that order; elsewhere theirs are ours.
 */
#ifndef MU_WORKER_HF_ADAPTER_H
#define MU_WORKER_HF_ADAPTER_H

#include "common/checkpoint/checkpoint_reader.h"
#include "worker/convert/hf_import.h"
#include "worker/convert/hf_model.h"

#define MU_PEFT_CONFIG  "adapter_config.json"
#define MU_PEFT_WEIGHTS "adapter_model.safetensors"

/* "base_model.model.gpt_neox.layers.0.attention.query_key_value.lora_A.weight" of an adapter's tensor. */
void mu_hf_adapter_name(mu_hf_family_t family, const mu_tensor_t *tensor, mu_buf_t *out);
/* Their values of an adapter's tensor out of ours, and back; whole tensors. */
void mu_hf_adapter_scatter(mu_hf_family_t family, const mu_model_t *model, const mu_tensor_t *tensor,
                           const float *ours, float *theirs);
void mu_hf_adapter_gather(mu_hf_family_t family, const mu_model_t *model, const mu_tensor_t *tensor,
                          const float *theirs, float *ours);
/* adapter_config.json. base: the name or path of the model that it adapts; alpha: as trained. */
void mu_hf_adapter_config_write(const mu_config_t *config, mu_hf_family_t family, const char *base,
                                mu_buf_t *out);

/* Adds an adapter to the weights of its base, a few rows at a time: zeros, with `adapter` and `model` (the one with
 * adapters) set, then mu_hf_adapter_add() for runs of rows that begin where the last ended or at 0. */
typedef struct mu_hf_merge {
    const mu_checkpoint_t *adapter;
    const mu_model_t *model;
    char *key; /* which A and B are read; NULL: none */
    float *a, *b;
} mu_hf_merge_t;

/* w: rows first .. first + rows - 1, all columns, of a tensor of the base; one that is not adapted stays as it is.
 * Errors: those of mu_checkpoint_read(). */
mu_status_t mu_hf_adapter_add(mu_hf_merge_t *merge, const mu_tensor_t *tensor, int64_t first, int64_t rows,
                              float *w);
void mu_hf_merge_release(mu_hf_merge_t *merge);

/* A directory with PEFT's files, as the source of an import (hf_import.h); base: the model that it adapts, a
 * checkpoint. Errors: MU_NOINPUT, MU_DATA, MU_CONFIG (another kind of adapter, or a setting that is not ours),
 * MU_IO. */
bool mu_hf_adapter_is(const char *dir);
mu_status_t mu_hf_adapter_source_open(const char *dir, const char *base, mu_import_t *out);

#endif
