/* The names of the classes that a model may have in Transformers. */
#include "worker/convert/hf_model.h"

static const char *const classes[] = {
    [MU_TYPE_AUTO] = "no class",
    [MU_TYPE_GPT_NEOX] = "GPTNeoXForCausalLM",
    [MU_TYPE_GPT2] = "GPT2LMHeadModel",
    [MU_TYPE_LLAMA] = "LlamaForCausalLM",
    [MU_TYPE_MISTRAL] = "MistralForCausalLM",
    [MU_TYPE_QWEN2] = "Qwen2ForCausalLM",
    [MU_TYPE_QWEN3] = "Qwen3ForCausalLM",
};

const char *mu_hf_class(mu_model_type_t type)
{
    return (size_t)type < sizeof classes / sizeof *classes ? classes[type] : NULL;
}
