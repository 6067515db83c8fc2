/* config.json of LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM (hf_model.h). */
#ifndef MU_WORKER_HF_LLAMA_H
#define MU_WORKER_HF_LLAMA_H

#include "worker/convert/hf_model.h"
#include "worker/convert/hf_reader.h"

/* Reads the settings of a class of the family into our YAML; false when `model_type` (NULL: absent) is none of it. */
bool mu_hf_llama_read(mu_hf_reader_t *r, const char *model_type);
/* Why a class of the family does not compute `model`; NULL: it does. */
const char *mu_hf_not_llama(const mu_model_t *model, mu_model_type_t type);
/* What a class of the family has in its config.json, but for the vocabulary and the ids. */
void mu_hf_llama_write(const mu_model_t *model, mu_model_type_t type, mu_buf_t *out);

#endif
