/*
 * Hugging Face's classes that are ours: their config.json, the names of their tensors, and where each of our
 * elements lies in theirs. A family is what tensors are called alike: GPTNeoXForCausalLM; GPT2LMHeadModel; and
 * LlamaForCausalLM with MistralForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM.
 *
 * GPT-2 keeps linear weights as [in, out] and query_key_value as [q, k, v][head][head_dim]; ours are [out,
 * in] and [head][q, k, v][head_dim], as GPTNeoX's are. The Llama family keeps queries, keys and values as three
 * tensors [head][head_dim], the parts of our query_key_value [key/value head][its queries, k, v][head_dim].
 */
#ifndef MU_WORKER_HF_MODEL_H
#define MU_WORKER_HF_MODEL_H

#include "common/buf.h"
#include "common/config/config.h"

typedef enum mu_hf_family { MU_HF_NEOX, MU_HF_GPT2, MU_HF_LLAMA } mu_hf_family_t;
enum { MU_HF_PARTS = 3 }; /* the most tensors of theirs that one of ours is made of */

/* Reads a config.json, of any age, and turns it into a configuration of ours (YAML text that
 * mu_config_load_text() reads; the vocabulary is padded_vocab_size). `name` stands for the file in messages.
 * Errors: MU_DATA (no JSON, or a value out of range), MU_CONFIG (a class, a setting or an activation that is
 * not ours). */
mu_status_t mu_hf_config_read(const char *name, const char *text, size_t n, mu_hf_family_t *family,
                              mu_buf_t *yaml);

/* The class that computes what `model` does: the one of `type`, or the first where that is MU_TYPE_AUTO. Errors:
 * MU_CONFIG, there is none, or that one does not (and why). */
mu_status_t mu_hf_type(const char *subject, const mu_model_t *model, mu_model_type_t type,
                       mu_model_type_t *out);
mu_hf_family_t mu_hf_family(mu_model_type_t type);
/* "LlamaForCausalLM". */
const char *mu_hf_class(mu_model_type_t type);
/* The ids of a model's config.json. */
typedef struct mu_hf_special {
    int bos, pad;       /* that a text begins with, that fills one up; -1: none */
    const int32_t *end; /* [ends] that end one */
    int ends;
} mu_hf_special_t;

/* Its config.json. */
void mu_hf_config_write(const mu_model_t *model, mu_model_type_t type, const mu_hf_special_t *ids,
                        mu_buf_t *out);
/* Their members in it, without a comma at the end. */
void mu_hf_special_write(const mu_hf_special_t *ids, mu_buf_t *out);
/* "98", "[98, 100]" or "null": ids as JSON. */
void mu_hf_ids(const int32_t *ids, int n, mu_buf_t *out);

/* The ids that end a text, of a config.json or generation_config.json ("eos_token_id", a number or a list), as
 * muster.end_tokens has them; nothing is added to `out` where the file names none below `vocab`. Errors: MU_DATA. */
mu_status_t mu_hf_end_tokens(const char *name, const char *text, size_t n, int64_t vocab, mu_buf_t *out);

/* How many tensors of theirs one of ours is made of. */
int mu_hf_parts(mu_hf_family_t family, const mu_tensor_t *tensor);
/* Their name of (part `part` of) our tensor, "gpt_neox.layers.0.input_layernorm.weight". */
void mu_hf_name(mu_hf_family_t family, const mu_tensor_t *tensor, int part, mu_buf_t *out);
/* The part of that name in front which old files leave out ("gpt_neox.", "transformer."); the head has none.
 */
const char *mu_hf_prefix(mu_hf_family_t family);
/* Whether a name in their file is of no use: masks and tables that old versions stored, and a tied head. */
bool mu_hf_ignored(mu_hf_family_t family, const mu_model_t *model, const char *name);

/* Their shape of (a part of) our tensor. */
void mu_hf_shape(mu_hf_family_t family, const mu_model_t *model, const mu_tensor_t *tensor, int part,
                 int64_t out[2]);
/* Of a tensor with parts: the rows from `row` on that are neighbours in one of theirs: how many, up to a head's end; in
 * which part, and from which row of it. */
int64_t mu_hf_run(const mu_model_t *model, int64_t row, int *part, int64_t *theirs);
/* The other way: where the part's row lies in ours. */
int64_t mu_hf_row(const mu_model_t *model, int part, int64_t theirs);
/* Whether their elements lie in another order than ours, in one tensor. */
bool mu_hf_reordered(mu_hf_family_t family, const mu_tensor_t *tensor);
/* Rows first up to first + rows of our tensor out of all of theirs, and the whole of theirs out of ours. */
void mu_hf_gather(const mu_model_t *model, const mu_tensor_t *tensor, const float *theirs, int64_t first,
                  int64_t rows, float *ours);
void mu_hf_scatter(const mu_model_t *model, const mu_tensor_t *tensor, const float *ours, float *theirs);

#endif
