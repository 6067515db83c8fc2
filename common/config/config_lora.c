/* Adapters: which layers have one, and how their output is scaled. */
#include "common/config/config_keys.h"
#include "common/log.h"

#include <math.h>
#include <strings.h>

#define BIT(target) (1U << (target))
enum {
    FUSED = BIT(MU_LORA_QKV),
    PARTS = BIT(MU_LORA_Q) | BIT(MU_LORA_K) | BIT(MU_LORA_V),
    OTHERS = BIT(MU_LORA_DENSE) | BIT(MU_LORA_GATE) | BIT(MU_LORA_FC1) | BIT(MU_LORA_FC2)
};

/* What layers are called: by gpt-neox and GPTNeoX, by GPT-2, by the Llama family. */
static const struct {
    const char *name;
    unsigned targets;
} names[] = {
    {"query_key_value", BIT(MU_LORA_QKV)},
    {"c_attn", BIT(MU_LORA_QKV)},
    {"attn.c_attn", BIT(MU_LORA_QKV)},
    {"q_proj", BIT(MU_LORA_Q)},
    {"k_proj", BIT(MU_LORA_K)},
    {"v_proj", BIT(MU_LORA_V)},
    {"dense", BIT(MU_LORA_DENSE)},
    {"o_proj", BIT(MU_LORA_DENSE)},
    {"attn.c_proj", BIT(MU_LORA_DENSE)},
    {"gate_proj", BIT(MU_LORA_GATE)},
    {"dense_h_to_4h", BIT(MU_LORA_FC1)},
    {"up_proj", BIT(MU_LORA_FC1)},
    {"c_fc", BIT(MU_LORA_FC1)},
    {"mlp.c_fc", BIT(MU_LORA_FC1)},
    {"dense_4h_to_h", BIT(MU_LORA_FC2)},
    {"down_proj", BIT(MU_LORA_FC2)},
    {"mlp.c_proj", BIT(MU_LORA_FC2)},
    {"c_proj", BIT(MU_LORA_DENSE) | BIT(MU_LORA_FC2)},
    {"all-linear", FUSED | PARTS | OTHERS},
};

/* Hugging Face's classes with RMS norms have queries, keys and values as layers of their own; the others one layer of
 * all three. */
static unsigned targets_of_family(const mu_model_t *m)
{
    unsigned all = OTHERS | (m->norm == MU_NORM_RMS ? PARTS : FUSED);
    return mu_model_gated(m) ? all : all & ~BIT(MU_LORA_GATE);
}

static unsigned usual_targets(const mu_model_t *m)
{
    return m->norm == MU_NORM_RMS ? BIT(MU_LORA_Q) | BIT(MU_LORA_V) : BIT(MU_LORA_QKV);
}

unsigned mu_lora_targets(const mu_model_t *model, const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(name, names[i].name) == 0)
            return names[i].targets & targets_of_family(model);
    return 0;
}

static mu_status_t unknown_target(const mu_config_source_t *s, const char *name)
{
    mu_buf_t known = MU_BUF_INIT;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].targets & targets_of_family(&s->config.model))
            mu_buf_addf(&known, "%s%s", known.len ? ", " : "", names[i].name);
    mu_status_t status = mu_fail(
        MU_CONFIG, "%s: muster.lora_targets: this model has no linear layer '%s': wanted are some of %s",
        mu_config_where(s, "muster.lora_targets"), name, known.data);
    mu_buf_release(&known);
    return status;
}

mu_status_t mu_config_derive_lora(mu_config_source_t *s)
{
    mu_config_t *c = &s->config;
    mu_lora_t *lora = &c->model.lora;
    double rank = (double)c->muster.lora_rank, alpha = c->muster.lora_alpha > 0 ? c->muster.lora_alpha : rank;
    *lora = (mu_lora_t){.rank = c->muster.lora_rank};
    if (lora->rank == 0)
        return MU_OK;
    lora->scale = alpha / (c->muster.lora_rslora ? sqrt(rank) : rank);
    lora->dropout = c->muster.lora_dropout;
    lora->targets = c->muster.lora_targets ? 0 : usual_targets(&c->model);
    for (char *const *name = c->muster.lora_targets; name && *name; name++) {
        unsigned targets = mu_lora_targets(&c->model, *name);
        if (targets == 0)
            return unknown_target(s, *name);
        lora->targets |= targets;
    }
    if (lora->targets == 0)
        return mu_fail(MU_CONFIG, "%s: muster.lora_targets is empty: name the layers that get an adapter",
                       mu_config_where(s, "muster.lora_targets"));
    return MU_OK;
}
