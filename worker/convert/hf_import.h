/*
 * Import: weights from elsewhere become a checkpoint (step 0, one shard, no optimizer state).
 *
 *     mu_import_t import;
 *     mu_hf_source_open(dir, &import);              or mu_neox_source_open()
 *     mu_import_write(&import, output);
 *     mu_import_release(&import);
 *
 * A source is opened only if every tensor of the model is there in the right shape and no other one is left
 * over; so what can fail afterwards is reading and writing.
 */
#ifndef MU_WORKER_HF_IMPORT_H
#define MU_WORKER_HF_IMPORT_H

#include "common/config/config.h"
#include "common/checkpoint/shard.h"
#include "worker/convert/hf_model.h"
#include "worker/convert/hf_tensors.h"

/* Reads a part of a weight, whole rows of it, row-major fp32; count[0] * count[1] values. An error is logged. */
typedef mu_status_t (*mu_import_rows_t)(void *import, int tensor, mu_state_t state, const int64_t offset[2],
                                        const int64_t count[2], float *out);

typedef struct mu_import {
    const mu_config_t *config; /* made from theirs; model.vocab is set */
    const char *what;          /* "GPTNeoXForCausalLM" */
    const char *dir;           /* what the user named, for the lineage; not the import's own; NULL: unknown */
    mu_foreign_t list;
    char *companions; /* files to keep (hf_companions.h); NULL: none */
    char *tokenizer;  /* path of a tokenizer.json, or a folder with vocab.json and merges.txt; NULL */
    const char
        *merges; /* GPT-2's second file where `tokenizer` is the first; not the import's own; else NULL */
    mu_import_rows_t read; /* its first argument is the mu_import_t */
    mu_hf_family_t family;
    const mu_foreign_tensor_t **of; /* [tensor of the model's list][slice] */
    bool by_layer;                  /* gpt-neox: a file a layer; else a file a slice */
    int slices;                     /* tp width of the files; MU_HF_PARTS for Hugging Face's parts */
    char *const *specials;          /* special tokens to add to the tokenizer; not the import's own */
    int special_count;
    char *base_path, *base_digest; /* an adapter: its base (common/checkpoint/adapter.h); else NULL */
    bool allow_nonfinite;          /* weights that are no finite numbers are warned of, not refused */
    float *whole;                  /* Hugging Face: one reordered tensor at a time, kept between calls */
    int whole_of;                  /* -1: none */
} mu_import_t;

/* A directory with config.json, and model.safetensors or model.safetensors.index.json. Errors: MU_NOINPUT,
 * MU_DATA, MU_CONFIG (a class or setting that is not ours), MU_IO. */
mu_status_t mu_hf_source_open(const char *dir, mu_import_t *out);

/* A directory of gpt-neox's layer_XX-model_YY-model_states.pt files (of a run with pipeline stages, as it is
 * the rule), or of mp_rank_YY_model_states.pt files that hold all layers (of one without), or a run's directory whose
 * `latest` names one. The model's configuration comes from `configs` (paths of NeoX YAML files), else from the *.yml
 * in DIR/configs. Slices of tensor parallelism are joined: weights and column-parallel biases by concatenation; what
 * each rank holds a copy of, by its mean; row-parallel biases, which gpt-neox adds once a rank under gpt_j_residual,
 * are then summed. Errors: as above. */
mu_status_t mu_neox_source_open(const char *dir, char *const *configs, int nconfigs, mu_import_t *out);
/* Whether DIR is one of those. */
bool mu_neox_source_is(const char *dir);

/* Writes OUTPUT/step-00000000; where the same import is there already, nothing. Errors: MU_RUNDIR (OUTPUT holds other
 * checkpoints), MU_IO, MU_DATA (a file
 * has changed; a tokenizer that is not supported or does not fit the model). */
mu_status_t mu_import_write(mu_import_t *import, const char *output);
void mu_import_release(mu_import_t *import);

/* For sources: the file of a directory that is there, first of those named; NULL when none is. free() it. */
char *mu_import_find_tokenizer(const char *dir);

#endif
