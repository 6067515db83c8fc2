#include "worker/convert/hf_adapter.h"
#include "common/buf.h"
#include "common/log.h"

#include <jansson.h>
#include <math.h>

/* The weight that a target adapts, as far as names and shapes go. */
static mu_tensor_t adapted(const mu_tensor_t *adapter)
{
    static const mu_tensor_kind_t kinds[MU_LORA_TARGETS] = {
        MU_T_QKV_W, MU_T_QKV_W, MU_T_QKV_W, MU_T_QKV_W, MU_T_DENSE_W, MU_T_GATE_W, MU_T_FC1_W, MU_T_FC2_W};
    mu_tensor_t t = {.kind = kinds[adapter->target], .layer = adapter->layer, .dims = 2};
    snprintf(t.name, sizeof t.name, "layers.%d.%s.weight", t.layer, mu_lora_target_name(adapter->target));
    return t;
}

static int part_of(mu_lora_target_t target)
{
    return target >= MU_LORA_Q && target <= MU_LORA_V ? (int)target - MU_LORA_Q : 0;
}

/* The path of the layer's module: "gpt_neox.layers.0.attention.query_key_value". */
static void module_of(mu_hf_family_t family, const mu_tensor_t *adapter, mu_buf_t *out)
{
    static const char weight[] = ".weight";
    mu_tensor_t t = adapted(adapter);
    mu_hf_name(family, &t, part_of(adapter->target), out);
    out->len -= sizeof weight - 1;
    out->data[out->len] = '\0';
}

void mu_hf_adapter_name(mu_hf_family_t family, const mu_tensor_t *tensor, mu_buf_t *out)
{
    mu_buf_t module = MU_BUF_INIT;
    module_of(family, tensor, &module);
    mu_buf_addf(out, "base_model.model.%s.lora_%c.weight", module.data,
                tensor->kind == MU_T_LORA_A ? 'A' : 'B');
    mu_buf_release(&module);
}

/* Where row `row` of ours lies in theirs. */
static int64_t their_row(mu_hf_family_t family, const mu_model_t *m, const mu_tensor_t *t, int64_t row)
{
    int64_t d = mu_model_head_dim(m), head = row / (3 * d), part = row / d % 3;
    if (family != MU_HF_GPT2 || t->kind != MU_T_LORA_B || t->target != MU_LORA_QKV)
        return row;
    return (part * m->heads + head) * d + row % d;
}

void mu_hf_adapter_scatter(mu_hf_family_t family, const mu_model_t *model, const mu_tensor_t *t,
                           const float *ours, float *theirs)
{
    for (int64_t r = 0; r < t->shape[0]; r++)
        memcpy(theirs + their_row(family, model, t, r) * t->shape[1], ours + r * t->shape[1],
               (size_t)t->shape[1] * sizeof *ours);
}

void mu_hf_adapter_gather(mu_hf_family_t family, const mu_model_t *model, const mu_tensor_t *t,
                          const float *theirs, float *ours)
{
    for (int64_t r = 0; r < t->shape[0]; r++)
        memcpy(ours + r * t->shape[1], theirs + their_row(family, model, t, r) * t->shape[1],
               (size_t)t->shape[1] * sizeof *ours);
}

/* The modules' names without the layers' part: "query_key_value", or "attn.c_attn" where the last word alone would name
 * two modules of a layer. */
static json_t *targets_json(const mu_model_t *m, mu_hf_family_t family)
{
    json_t *list = json_array();
    for (int t = 0; t < MU_LORA_TARGETS; t++) {
        mu_tensor_t tensor = {.kind = MU_T_LORA_A, .layer = 0, .target = (mu_lora_target_t)t};
        mu_buf_t module = MU_BUF_INIT;
        if (!mu_model_adapts(m, (mu_lora_target_t)t))
            continue;
        module_of(family, &tensor, &module);
        const char *name = strrchr(module.data, '.') + 1;
        if (family == MU_HF_GPT2)
            name = strstr(module.data, ".0.") + 3;
        json_array_append_new(list, json_string(name));
        mu_buf_release(&module);
    }
    return list;
}

void mu_hf_adapter_config_write(const mu_config_t *config, mu_hf_family_t family, const char *base,
                                mu_buf_t *out)
{
    const mu_model_t *m = &config->model;
    double alpha = config->muster.lora_alpha > 0 ? config->muster.lora_alpha : (double)m->lora.rank;
    bool whole = floor(alpha) == alpha;
    json_t *name = json_string(base);
    json_t *root = json_pack(
        "{s:s, s:s, s:o, s:I, s:o, s:f, s:o, s:s, s:b, s:b, s:b, s:b, s:n, s:n, s:n, s:{}, s:{}, s:b}",
        "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", name ? name : json_null(),
        "r", (json_int_t)m->lora.rank, "lora_alpha",
        whole ? json_integer((json_int_t)alpha) : json_real(alpha), "lora_dropout", m->lora.dropout,
        "target_modules", targets_json(m, family), "bias", "none", "use_rslora", config->muster.lora_rslora,
        "use_dora", 0, "fan_in_fan_out", family == MU_HF_GPT2, "init_lora_weights", 1, "modules_to_save",
        "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "inference_mode", 1);
    char *text = json_dumps(root, JSON_INDENT(2));
    mu_buf_adds(out, text);
    mu_buf_addc(out, '\n');
    free(text);
    json_decref(root);
}

/* ---- merging ---- */

void mu_hf_merge_release(mu_hf_merge_t *merge)
{
    free(merge->key);
    free(merge->a);
    free(merge->b);
    merge->key = NULL;
    merge->a = merge->b = NULL;
}

static mu_status_t read_pair(mu_hf_merge_t *merge, int layer, mu_lora_target_t target)
{
    const mu_model_t *m = merge->model;
    int64_t r = m->lora.rank, in = mu_lora_in(m, target), out = mu_lora_out(m, target);
    const int64_t zero[2] = {0, 0}, shape_a[2] = {r, in}, shape_b[2] = {out, r};
    char *key = mu_format("layers.%d.%s", layer, mu_lora_target_name(target)), *name;
    if (merge->key && strcmp(merge->key, key) == 0) {
        free(key);
        return MU_OK;
    }
    mu_hf_merge_release(merge);
    merge->a = mu_alloc((size_t)(r * in) * sizeof(float));
    merge->b = mu_alloc((size_t)(r * out) * sizeof(float));
    name = mu_format("%s.lora_A.weight", key);
    mu_status_t status = mu_checkpoint_read(merge->adapter, name, MU_STATE_WEIGHT, zero, shape_a, merge->a);
    free(name);
    name = mu_format("%s.lora_B.weight", key);
    if (status == MU_OK)
        status = mu_checkpoint_read(merge->adapter, name, MU_STATE_WEIGHT, zero, shape_b, merge->b);
    free(name);
    if (status == MU_OK)
        merge->key = key;
    else
        free(key);
    return status;
}

/* What adapts row `row` of a weight, and which row of its B; false: nothing does. */
static bool target_of(const mu_model_t *m, const mu_tensor_t *t, int64_t row, mu_lora_target_t *target,
                      int64_t *of_b)
{
    int part;
    *of_b = row;
    switch (t->kind) {
    case MU_T_QKV_W:
        *target = MU_LORA_QKV;
        if (!mu_model_adapts(m, MU_LORA_QKV)) {
            mu_hf_run(m, row, &part, of_b);
            *target = (mu_lora_target_t)((int)MU_LORA_Q + part);
        }
        break;
    case MU_T_DENSE_W:
        *target = MU_LORA_DENSE;
        break;
    case MU_T_GATE_W:
        *target = MU_LORA_GATE;
        break;
    case MU_T_FC1_W:
        *target = MU_LORA_FC1;
        break;
    case MU_T_FC2_W:
        *target = MU_LORA_FC2;
        break;
    default:
        return false;
    }
    return mu_model_adapts(m, *target);
}

mu_status_t mu_hf_adapter_add(mu_hf_merge_t *merge, const mu_tensor_t *t, int64_t first, int64_t rows,
                              float *w)
{
    const mu_model_t *m = merge->model;
    int64_t rank = m->lora.rank, in = t->shape[1], of_b;
    mu_lora_target_t target;
    double *sum = mu_alloc((size_t)in * sizeof *sum);
    mu_status_t status = MU_OK;
    for (int64_t row = first; status == MU_OK && row < first + rows; row++, w += in) {
        if (!target_of(m, t, row, &target, &of_b))
            continue;
        status = read_pair(merge, t->layer, target);
        if (status != MU_OK)
            break;
        memset(sum, 0, (size_t)in * sizeof *sum);
        for (int64_t k = 0; k < rank; k++)
            for (int64_t c = 0; c < in; c++)
                sum[c] += (double)merge->b[of_b * rank + k] * (double)merge->a[k * in + c];
        for (int64_t c = 0; c < in; c++)
            w[c] = (float)((double)w[c] + m->lora.scale * sum[c]);
    }
    free(sum);
    return status;
}
