#include "common/config/config_compatibility.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/rope.h"

typedef struct difference {
    const char *path;
    int count;
} difference_t;

static void differ_i(difference_t *d, const char *key, int64_t was, int64_t is)
{
    if (was == is)
        return;
    mu_error("%s: was made with %s %lld, the configuration says %lld", d->path, key, (long long)was,
             (long long)is);
    d->count++;
}

/* A choice, by the words that its keys have for it. */
static void differ_w(difference_t *d, const char *key, const char *was, const char *is)
{
    if (strcmp(was, is) == 0)
        return;
    mu_error("%s: was made with %s, the configuration says %s (%s)", d->path, was, is, key);
    d->count++;
}

static void differ_f(difference_t *d, const char *key, double was, double is)
{
    if (was == is)
        return;
    mu_error("%s: was made with %s %.9g, the configuration says %.9g", d->path, key, was, is);
    d->count++;
}

/* The frequencies themselves: what is written may leave out what a default says. */
static void differ_rope(difference_t *d, const mu_model_t *was, const mu_model_t *is)
{
    if (was->position != MU_POSITION_ROTARY || is->position != MU_POSITION_ROTARY ||
        was->rotary_dims != is->rotary_dims || was->rotary_base != is->rotary_base)
        return; /* that is said, or there are none */
    size_t n = (size_t)was->rotary_dims;
    double *a = mu_calloc(n + 1, sizeof *a), *b = mu_calloc(n + 1, sizeof *b);
    mu_rope_frequencies(was, a, &a[n]);
    mu_rope_frequencies(is, b, &b[n]);
    if (memcmp(a, b, (n + 1) * sizeof *a) != 0) {
        mu_error("%s: was made with rotary positions scaled as %s, the configuration says %s "
                 "(muster.rope_scaling)",
                 d->path, mu_rope_name(was->rope.type), mu_rope_name(is->rope.type));
        d->count++;
    }
    free(a);
    free(b);
}

static void compare_models(difference_t *d, const mu_model_t *was, const mu_model_t *is)
{
    static const char *const residual[] = {[MU_RESIDUAL_SEQUENTIAL] = "attention before the MLP",
                                           [MU_RESIDUAL_PARALLEL] = "attention and MLP side by side",
                                           [MU_RESIDUAL_PARALLEL_TIED] =
                                               "attention and MLP side by side after one norm"};
    static const char *const activation[] = {
        [MU_GELU_TANH] = "GELU by tanh", [MU_GELU_ERF] = "exact GELU", [MU_SWIGLU] = "SwiGLU"};
    static const char *const norm[] = {[MU_NORM_LAYER] = "layer norms", [MU_NORM_RMS] = "RMS norms"};
    static const char *const position[] = {[MU_POSITION_ROTARY] = "rotary positions",
                                           [MU_POSITION_LEARNED] = "learned positions",
                                           [MU_POSITION_NONE] = "no positions"};
    static const char *const qk_norm[] = {"queries and keys as they are", "norms of queries and keys"};
    static const char *const head[] = {"a head of its own", "a head tied to the embedding"};
    differ_i(d, "num_layers", was->layers, is->layers);
    differ_i(d, "hidden_size", was->hidden, is->hidden);
    differ_i(d, "num_attention_heads", was->heads, is->heads);
    differ_i(d, "num_kv_heads", mu_model_kv_heads(was), mu_model_kv_heads(is));
    differ_i(d, "dimensions of a head", mu_model_head_dim(was), mu_model_head_dim(is));
    differ_i(d, "width of the MLP (intermediate_size)", was->ffn, is->ffn);
    differ_w(d, "gpt_j_residual, gpt_j_tied", residual[was->residual], residual[is->residual]);
    differ_w(d, "activation, bias_gelu_fusion", activation[was->activation], activation[is->activation]);
    differ_w(d, "pos_emb", position[was->position], position[is->position]);
    differ_i(d, "rotary dimensions (rotary_pct)", was->rotary_dims, is->rotary_dims);
    if (was->position == MU_POSITION_ROTARY)
        differ_f(d, "rotary_emb_base", was->rotary_base, is->rotary_base);
    differ_rope(d, was, is);
    differ_i(d, "sliding_window_width", was->window, is->window);
    if (was->position == MU_POSITION_LEARNED)
        differ_i(d, "max_position_embeddings", was->max_positions, is->max_positions);
    differ_w(d, "no_weight_tying", head[was->tied_head], head[is->tied_head]);
    differ_w(d, "norm", norm[was->norm], norm[is->norm]);
    differ_i(d, "linear layers without bias (use_bias_in_attn_linear, use_bias_in_mlp)", was->unbiased,
             is->unbiased);
    if ((float)was->norm_eps != (float)is->norm_eps) /* what the norms add; some files hold 1e-5 as a float */
        differ_f(d, "epsilon of the norms", was->norm_eps, is->norm_eps);
    differ_w(d, "use_qk_layernorm", qk_norm[was->qk_norm], qk_norm[is->qk_norm]);
}

static void compare_adapters(difference_t *d, const mu_lora_t *was, const mu_lora_t *is)
{
    differ_i(d, "muster.lora_rank", was->rank, is->rank);
    differ_i(d, "layers with adapters (muster.lora_targets), as a set of bits,", was->targets, is->targets);
    differ_f(d, "the scale of adapters (muster.lora_alpha, muster.lora_rslora)", was->scale, is->scale);
}

/* The schedule follows the configuration only when it says so, as in gpt-neox (megatron/learning_rates.py).
 */
static void compare_schedules(difference_t *d, const mu_config_t *was, const mu_config_t *is)
{
    int before = d->count;
    if (is->override_lr_scheduler || is->use_checkpoint_lr_scheduler)
        return;
    differ_f(d, "optimizer.params.lr", was->lr, is->lr);
    differ_f(d, "min_lr", was->min_lr, is->min_lr);
    differ_f(d, "warmup", was->warmup, is->warmup);
    differ_i(d, "lr_decay_style", was->lr_decay_style, is->lr_decay_style);
    differ_i(d, "the steps of the schedule (lr_decay_iters, lr_decay_fraction, else train_iters)",
             mu_config_lr_course(was).iters, mu_config_lr_course(is).iters);
    if (d->count > before)
        mu_error("set override_lr_scheduler to follow the configuration, or use_checkpoint_lr_scheduler to "
                 "keep the old "
                 "schedule");
}

mu_status_t mu_compatibility_check(const mu_config_t *config, const char *path, const char *text,
                                   bool optimizer, mu_former_t *former)
{
    difference_t d = {.path = path};
    mu_config_t *was;
    MU_TRY(mu_config_load_text(path, text, &was));
    compare_models(&d, &was->model, &config->model);
    if (was->model.lora.rank > 0)
        compare_adapters(&d, &was->model.lora, &config->model.lora);
    if (optimizer) {
        differ_i(&d, "seq_length", was->model.seq_length, config->model.seq_length);
        differ_i(&d, "seed", was->seed, config->seed);
        compare_schedules(&d, was, config);
    }
    mu_former_t of_was = {.course = mu_config_lr_course(was), .train_batch_size = was->train_batch_size};
    mu_config_free(was);
    if (d.count > 0)
        return mu_fail(
            MU_CONFIG, "%s: %d setting%s differ%s from what it was made with: change %s back%s", path,
            d.count, d.count == 1 ? "" : "s", d.count == 1 ? "s" : "", d.count == 1 ? "it" : "them",
            optimizer ? ", or start another run directory (with load and finetune to keep the weights)" : "");
    *former = of_was;
    return MU_OK;
}
