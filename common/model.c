#include "common/model.h"
#include "common/num.h"

#include <math.h>

enum { PER_LAYER_MAX = 16 };

/* The tensors of a layer in order, those that a model has not (present()) left out. */
static const mu_tensor_kind_t layer_kinds[PER_LAYER_MAX] = {
    MU_T_LN1_W,    MU_T_LN1_B,    MU_T_LN2_W,   MU_T_LN2_B,   MU_T_QKV_W,  MU_T_QKV_B,
    MU_T_Q_NORM_W, MU_T_K_NORM_W, MU_T_DENSE_W, MU_T_DENSE_B, MU_T_GATE_W, MU_T_GATE_B,
    MU_T_FC1_W,    MU_T_FC1_B,    MU_T_FC2_W,   MU_T_FC2_B,
};

static const char *const kind_names[] = {
    [MU_T_EMBED_IN] = "embed_in.weight",
    [MU_T_EMBED_POS] = "embed_pos.weight",
    [MU_T_LN1_W] = "input_layernorm.weight",
    [MU_T_LN1_B] = "input_layernorm.bias",
    [MU_T_LN2_W] = "post_attention_layernorm.weight",
    [MU_T_LN2_B] = "post_attention_layernorm.bias",
    [MU_T_QKV_W] = "attention.query_key_value.weight",
    [MU_T_QKV_B] = "attention.query_key_value.bias",
    [MU_T_Q_NORM_W] = "attention.q_norm.weight",
    [MU_T_K_NORM_W] = "attention.k_norm.weight",
    [MU_T_DENSE_W] = "attention.dense.weight",
    [MU_T_DENSE_B] = "attention.dense.bias",
    [MU_T_GATE_W] = "mlp.gate.weight",
    [MU_T_GATE_B] = "mlp.gate.bias",
    [MU_T_FC1_W] = "mlp.dense_h_to_4h.weight",
    [MU_T_FC1_B] = "mlp.dense_h_to_4h.bias",
    [MU_T_FC2_W] = "mlp.dense_4h_to_h.weight",
    [MU_T_FC2_B] = "mlp.dense_4h_to_h.bias",
    [MU_T_LNF_W] = "final_layer_norm.weight",
    [MU_T_LNF_B] = "final_layer_norm.bias",
    [MU_T_EMBED_OUT] = "embed_out.weight",
};

static const char *const target_names[MU_LORA_TARGETS] = {
    [MU_LORA_QKV] = "attention.query_key_value",
    [MU_LORA_Q] = "attention.query",
    [MU_LORA_K] = "attention.key",
    [MU_LORA_V] = "attention.value",
    [MU_LORA_DENSE] = "attention.dense",
    [MU_LORA_GATE] = "mlp.gate",
    [MU_LORA_FC1] = "mlp.dense_h_to_4h",
    [MU_LORA_FC2] = "mlp.dense_4h_to_h",
};

const char *mu_lora_target_name(mu_lora_target_t target)
{
    return target_names[target];
}

int64_t mu_lora_in(const mu_model_t *model, mu_lora_target_t target)
{
    return target == MU_LORA_DENSE ? mu_model_width(model)
           : target == MU_LORA_FC2 ? model->ffn
                                   : model->hidden;
}

int64_t mu_lora_out(const mu_model_t *model, mu_lora_target_t target)
{
    switch (target) {
    case MU_LORA_QKV:
        return mu_model_qkv_rows(model);
    case MU_LORA_Q:
        return mu_model_width(model);
    case MU_LORA_K:
    case MU_LORA_V:
        return mu_model_kv_heads(model) * mu_model_head_dim(model);
    case MU_LORA_GATE:
    case MU_LORA_FC1:
        return model->ffn;
    default:
        return model->hidden;
    }
}

static bool present(const mu_model_t *model, mu_tensor_kind_t kind)
{
    bool layernorm = model->norm == MU_NORM_LAYER, ln2 = model->residual != MU_RESIDUAL_PARALLEL_TIED;
    switch (kind) {
    case MU_T_LN1_B:
    case MU_T_LNF_B:
        return layernorm;
    case MU_T_LN2_W:
        return ln2;
    case MU_T_LN2_B:
        return ln2 && layernorm;
    case MU_T_QKV_B:
        return !(model->unbiased & MU_UNBIASED_QKV);
    case MU_T_Q_NORM_W:
    case MU_T_K_NORM_W:
        return model->qk_norm;
    case MU_T_DENSE_B:
        return !(model->unbiased & MU_UNBIASED_DENSE);
    case MU_T_GATE_W:
        return mu_model_gated(model);
    case MU_T_GATE_B:
        return mu_model_gated(model) && !(model->unbiased & MU_UNBIASED_MLP);
    case MU_T_FC1_B:
    case MU_T_FC2_B:
        return !(model->unbiased & MU_UNBIASED_MLP);
    case MU_T_EMBED_POS:
        return model->position == MU_POSITION_LEARNED;
    case MU_T_EMBED_OUT:
        return !model->tied_head;
    default:
        return true;
    }
}

/* Those of `kinds` that the model has, into `out`, which may be NULL; returns how many. */
static int choose(const mu_model_t *model, const mu_tensor_kind_t *kinds, int count, mu_tensor_kind_t *out)
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (!present(model, kinds[i]))
            continue;
        if (out)
            out[n] = kinds[i];
        n++;
    }
    return n;
}

static int per_layer(const mu_model_t *model, mu_tensor_kind_t *out)
{
    return choose(model, layer_kinds, PER_LAYER_MAX, out);
}

static int after_layers(const mu_model_t *model, mu_tensor_kind_t *out)
{
    static const mu_tensor_kind_t kinds[] = {MU_T_LNF_W, MU_T_LNF_B, MU_T_EMBED_OUT};
    return choose(model, kinds, 3, out);
}

static int before_layers(const mu_model_t *model)
{
    return model->position == MU_POSITION_LEARNED ? 2 : 1;
}

static int base_count(const mu_model_t *model)
{
    return before_layers(model) + (int)model->layers * per_layer(model, NULL) + after_layers(model, NULL);
}

/* Those of a layer, into `out`, which may be NULL; returns how many. */
static int adapted(const mu_model_t *model, mu_lora_target_t *out)
{
    int n = 0;
    for (int t = 0; t < MU_LORA_TARGETS; t++) {
        if (!mu_model_adapts(model, (mu_lora_target_t)t))
            continue;
        if (out)
            out[n] = (mu_lora_target_t)t;
        n++;
    }
    return n;
}

int mu_model_tensor_count(const mu_model_t *model)
{
    return base_count(model) + 2 * (int)model->layers * adapted(model, NULL);
}

int mu_model_saved_first(const mu_model_t *model)
{
    return model->lora.rank > 0 ? base_count(model) : 0;
}

static double init_std(const mu_model_t *model, mu_init_t init)
{
    double layers = (double)model->layers, hidden = (double)model->hidden;
    switch (init) {
    case MU_INIT_NORMAL:
        return model->init_std;
    case MU_INIT_SCALED_NORMAL:
        return model->init_std / sqrt(2.0 * layers);
    case MU_INIT_SMALL:
        return sqrt(2.0 / (5.0 * hidden));
    case MU_INIT_WANG:
        return 2.0 / (layers * sqrt(hidden));
    }
    return 0;
}

static void matrix(mu_tensor_t *t, int64_t rows, int64_t cols, mu_split_t split, double std)
{
    t->dims = 2;
    t->shape[0] = rows;
    t->shape[1] = cols;
    t->split = split;
    t->decay = true;
    t->init_std = std;
}

static void vector(mu_tensor_t *t, int64_t n, mu_split_t split, double value)
{
    t->dims = 1;
    t->shape[0] = n;
    t->shape[1] = 1;
    t->split = split;
    t->init_value = value;
}

/* tp divides what it divides of the layer. A begins with the deviation of PEFT's, B with zeros: the model is as it
 * was. */
static void fill_adapter(const mu_model_t *model, mu_tensor_t *t)
{
    int64_t in = mu_lora_in(model, t->target), out = mu_lora_out(model, t->target);
    bool row_parallel = t->target == MU_LORA_DENSE || t->target == MU_LORA_FC2;
    if (t->kind == MU_T_LORA_A)
        matrix(t, model->lora.rank, in, row_parallel ? MU_SPLIT_COLS : MU_SPLIT_NONE,
               1.0 / sqrt(3.0 * (double)in));
    else
        matrix(t, out, model->lora.rank, row_parallel ? MU_SPLIT_NONE : MU_SPLIT_ROWS, 0);
}

static void fill(const mu_model_t *model, mu_tensor_t *t)
{
    int64_t h = model->hidden, f = model->ffn, w = mu_model_width(model), qkv = mu_model_qkv_rows(model);
    double in = init_std(model, model->init), out = init_std(model, model->output_init);
    switch (t->kind) {
    case MU_T_EMBED_IN:
    case MU_T_EMBED_OUT:
        matrix(t, model->vocab, h, MU_SPLIT_ROWS, in);
        break;
    case MU_T_EMBED_POS:
        matrix(t, model->max_positions, h, MU_SPLIT_NONE, in);
        break;
    case MU_T_QKV_W:
        matrix(t, qkv, h, MU_SPLIT_ROWS, in);
        break;
    case MU_T_DENSE_W:
        matrix(t, h, w, MU_SPLIT_COLS, out);
        break;
    case MU_T_GATE_W:
    case MU_T_FC1_W:
        matrix(t, f, h, MU_SPLIT_ROWS, in);
        break;
    case MU_T_FC2_W:
        matrix(t, h, f, MU_SPLIT_COLS, out);
        break;
    case MU_T_QKV_B:
        vector(t, qkv, MU_SPLIT_ROWS, 0);
        break;
    case MU_T_GATE_B:
    case MU_T_FC1_B:
        vector(t, f, MU_SPLIT_ROWS, 0);
        break;
    case MU_T_LN1_W:
    case MU_T_LN2_W:
    case MU_T_LNF_W:
        vector(t, h, MU_SPLIT_NONE, 1);
        break;
    case MU_T_Q_NORM_W:
    case MU_T_K_NORM_W:
        vector(t, mu_model_head_dim(model), MU_SPLIT_NONE, 1);
        break;
    case MU_T_LN1_B:
    case MU_T_LN2_B:
    case MU_T_LNF_B:
    case MU_T_DENSE_B:
    case MU_T_FC2_B:
        vector(t, h, MU_SPLIT_NONE, 0);
        break;
    case MU_T_LORA_A:
    case MU_T_LORA_B:
        fill_adapter(model, t);
        break;
    }
}

static void adapter(const mu_model_t *model, int index, mu_tensor_t *out)
{
    mu_lora_target_t targets[MU_LORA_TARGETS];
    int each = 2 * adapted(model, targets);
    out->trained = true;
    out->layer = index / each;
    out->target = targets[index % each / 2];
    out->kind = index % 2 == 0 ? MU_T_LORA_A : MU_T_LORA_B;
    snprintf(out->name, sizeof out->name, "layers.%d.%s.lora_%c.weight", out->layer,
             target_names[out->target], out->kind == MU_T_LORA_A ? 'A' : 'B');
    fill(model, out);
}

void mu_model_tensor(const mu_model_t *model, int index, mu_tensor_t *out)
{
    mu_tensor_kind_t of_layer[PER_LAYER_MAX], last[3];
    int first = before_layers(model), each = per_layer(model, of_layer), layers = (int)model->layers;
    int after = index - first - layers * each;
    memset(out, 0, sizeof *out);
    out->layer = -1;
    out->trained = model->lora.rank == 0;
    if (index >= base_count(model)) {
        adapter(model, index - base_count(model), out);
        return;
    }
    if (index < first) {
        out->kind = index == 0 ? MU_T_EMBED_IN : MU_T_EMBED_POS;
    } else if (after < 0) {
        out->layer = (index - first) / each;
        out->kind = of_layer[(index - first) % each];
    } else {
        after_layers(model, last);
        out->kind = last[after];
    }
    if (out->layer >= 0)
        snprintf(out->name, sizeof out->name, "layers.%d.%s", out->layer, kind_names[out->kind]);
    else
        snprintf(out->name, sizeof out->name, "%s", kind_names[out->kind]);
    fill(model, out);
}

const char *mu_model_llama_part(const mu_model_t *model)
{
    if (model->norm == MU_NORM_RMS)
        return "norm: rmsnorm";
    if (mu_model_gated(model))
        return "activation: swiglu";
    if (mu_model_kv_heads(model) != model->heads)
        return "num_kv_heads less than num_attention_heads";
    if (model->qk_norm)
        return "use_qk_layernorm: true";
    if (model->unbiased & (MU_UNBIASED_QKV | MU_UNBIASED_DENSE))
        return "use_bias_in_attn_linear: false";
    return model->unbiased ? "use_bias_in_mlp: false" : NULL;
}

int mu_model_tensor_find(const mu_model_t *model, const char *name)
{
    mu_tensor_t t;
    int count = mu_model_tensor_count(model);
    for (int i = 0; i < count; i++) {
        mu_model_tensor(model, i, &t);
        if (strcmp(t.name, name) == 0)
            return i;
    }
    return -1;
}

void mu_tensor_slice(const mu_tensor_t *tensor, int tp, int rank, int64_t offset[2], int64_t count[2])
{
    for (int d = 0; d < 2; d++) {
        offset[d] = 0;
        count[d] = tensor->shape[d];
    }
    if (tensor->split == MU_SPLIT_NONE)
        return;
    int d = tensor->split == MU_SPLIT_ROWS ? 0 : 1;
    int64_t most = (tensor->shape[d] + tp - 1) / tp;
    offset[d] = mu_min_i64(most * rank, tensor->shape[d]);
    count[d] = mu_min_i64(most, tensor->shape[d] - offset[d]);
}

mu_model_t mu_model_spread(const mu_model_t *model, int tp)
{
    mu_model_t spread = *model;
    if (mu_model_kv_copies(model, tp) > 1)
        spread.kv_heads = tp;
    return spread;
}

int64_t mu_model_spread_row(const mu_model_t *model, int tp, const mu_tensor_t *tensor, int64_t row,
                            int64_t *rows, bool *copy)
{
    int64_t copies = mu_model_kv_copies(model, tp), d = mu_model_head_dim(model);
    *copy = false;
    *rows = tensor->shape[0] - row;
    if (copies == 1 || (tensor->kind != MU_T_QKV_W && tensor->kind != MU_T_QKV_B))
        return row;
    int64_t all = model->heads / mu_model_kv_heads(model),
            own = all / copies; /* queries: of a head, of a rank */
    int64_t rank = row / d / (own + 2), part = row / d % (own + 2), turn = rank % copies;
    int64_t head = rank / copies * (all + 2) + (part < own ? turn * own + part : all + part - own);
    *rows = ((part < own && turn < copies - 1 ? own : own + 2) - part) * d - row % d;
    *copy = part >= own && turn < copies - 1;
    return head * d + row % d;
}

int64_t mu_part_begin(int64_t n, int64_t part, int64_t parts)
{
    return n / parts * part + n % parts * part / parts;
}

void mu_tensor_owned(const mu_tensor_t *tensor, const int64_t count[2], int shard, int shards, int64_t *first,
                     int64_t *n)
{
    int64_t from = 0, to = count[0];
    if (tensor->dims == 2) {
        from = mu_part_begin(count[0], shard, shards);
        to = mu_part_begin(count[0], shard + 1, shards);
    }
    *first = from * count[1];
    *n = (to - from) * count[1];
}

static int64_t parameters_from(const mu_model_t *model, int first)
{
    int64_t total = 0;
    mu_tensor_t t;
    int count = mu_model_tensor_count(model);
    for (int i = first; i < count; i++) {
        mu_model_tensor(model, i, &t);
        total += t.shape[0] * t.shape[1];
    }
    return total;
}

int64_t mu_model_parameters(const mu_model_t *model)
{
    return parameters_from(model, 0);
}

int64_t mu_model_trained_parameters(const mu_model_t *model)
{
    return parameters_from(model, mu_model_saved_first(model));
}

int64_t mu_model_logit_rows(int64_t rows, int64_t vocab, int64_t most)
{
    enum { ALIGN = 16, LEAST = 64 };
    int64_t limit = mu_max_i64(LEAST, most / vocab / ALIGN * ALIGN), pieces = (rows + limit - 1) / limit;
    return mu_min_i64(rows, ((rows + pieces - 1) / pieces + ALIGN - 1) / ALIGN * ALIGN);
}

double mu_model_flops_per_token(const mu_model_t *model)
{
    double L = (double)model->layers, h = (double)model->hidden, s = (double)model->seq_length,
           V = (double)model->vocab;
    int64_t qkv = mu_model_qkv_rows(model), w = mu_model_width(model);
    if (mu_model_gated(model) || qkv != 3 * model->hidden) {
        double mlp = (mu_model_gated(model) ? 3.0 : 2.0) * (double)model->ffn;
        return 6.0 * L * h * ((double)(qkv + w) + mlp) + 12.0 * L * s * (double)w + 4.5 * h * V;
    }
    return 24.0 * 3.0 * L * h * h * (1.0 + s / (6.0 * h) + V / (16.0 * L * h));
}
