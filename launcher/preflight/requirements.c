#include "launcher/preflight/requirements.h"
#include "common/num.h"
#include "dataset/tokenizer/tokenizer.h"
#include "launcher/plan/plan_memory.h"

#include <unistd.h>

enum { ROWS_AT_ONCE = 8 }; /* sequences of an evaluation's call */

static mu_status_t find_vocab(const mu_config_t *c, int64_t *out)
{
    mu_tokenizer_t *tok;
    *out = c->model.vocab ? c->model.vocab : c->padded_vocab_size;
    if (*out > 0 || !c->vocab_file || access(c->vocab_file, R_OK) != 0)
        return MU_OK;
    MU_TRY(mu_tokenizer_load_files(c->vocab_file, c->merge_file, &tok));
    int64_t ids = mu_tokenizer_vocab(tok);
    mu_tokenizer_free(tok);
    return mu_config_padded_vocab(c, ids, out);
}

/* Of a net that does not train: the weights, and the activations of one layer at a time. */
static uint64_t use_of(const mu_model_t *model, mu_plan_shape_t shape)
{
    mu_model_t layer = *model;
    mu_plan_memory_t all, one;
    layer.layers = 1;
    shape.micro_batch = ROWS_AT_ONCE;
    mu_plan_memory(model, &shape, &all);
    mu_plan_memory(&layer, &shape, &one);
    return (uint64_t)(all.weights + one.activations + all.loss + all.workspace + all.communication);
}

mu_status_t mu_requirements_of(const mu_config_t *config, bool trains, mu_requirements_t *out)
{
    mu_model_t model = config->model;
    mu_plan_memory_t memory;
    *out = (mu_requirements_t){0};
    MU_TRY(find_vocab(config, &model.vocab));
    int tp = config->tp > 0 ? config->tp : 1;
    if (model.vocab == 0 || !mu_model_vocab_fits(&model, tp))
        return MU_OK; /* unknown, or refused elsewhere */
    mu_plan_shape_t shape = {.tp = tp,
                             .shards = config->zero_stage == 1 ? config->dp : 1,
                             .micro_batch = mu_max_i64(1, config->micro_batch),
                             .checkpoint_activations = config->checkpoint_activations,
                             .mixed = config->precision != MU_FP32,
                             .cudnn = trains && config->muster.attention == MU_ATTENTION_CUDNN};
    if (!trains) {
        out->rank = use_of(&model, shape);
        return MU_OK;
    }
    mu_plan_memory(&model, &shape, &memory);
    out->rank = (uint64_t)mu_plan_memory_total(&memory);
    out->checkpoint = (uint64_t)mu_model_trained_parameters(&model) * (config->no_save_optim ? 4 : 12);
    return MU_OK;
}
