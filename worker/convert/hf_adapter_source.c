/* A directory of PEFT's as the source of an import. */
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/foreign.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/convert/hf_adapter.h"
#include "worker/convert/safetensors.h"

#include <jansson.h>

enum { CONFIG_LIMIT = 16 << 20, SHOWN = 8 };

bool mu_hf_adapter_is(const char *dir)
{
    char *path = mu_path_join(dir, MU_PEFT_CONFIG);
    bool is = mu_is_file(path);
    free(path);
    return is;
}

static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_object(value) && json_object_size(value) == 0) &&
           !(json_is_array(value) && json_array_size(value) == 0);
}

/* Settings that change what an adapter computes, and that are not ours. */
static mu_status_t refuse_others(const char *path, const json_t *root)
{
    static const char *const keys[] = {
        "modules_to_save", "rank_pattern", "alpha_pattern",           "use_dora",
        "lora_bias",       "use_qalora",   "trainable_token_indices", "layer_replication"};
    const char *type = json_string_value(json_object_get(root, "peft_type")),
               *bias = json_string_value(json_object_get(root, "bias"));
    if (!type || strcmp(type, "LORA") != 0)
        return mu_fail(MU_CONFIG, "%s: 'peft_type' is %s: LORA is wanted", path, type ? type : "not there");
    if (bias && strcmp(bias, "none") != 0)
        return mu_fail(MU_CONFIG, "%s: 'bias' %s is not supported: none is wanted", path, bias);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (is_set(json_object_get(root, keys[i])))
            return mu_fail(MU_CONFIG, "%s: '%s' is not supported", path, keys[i]);
    return MU_OK;
}

/* The targets are those of layer 0 in the file, whatever pattern of names it was made with. */
static unsigned targets_in(const mu_import_t *import, const mu_model_t *base)
{
    unsigned found = 0;
    for (int t = 0; t < MU_LORA_TARGETS; t++) {
        mu_tensor_t a = {.kind = MU_T_LORA_A, .layer = 0, .target = (mu_lora_target_t)t};
        mu_buf_t name = MU_BUF_INIT;
        bool gate = t == MU_LORA_GATE && !mu_model_gated(base);
        bool whole = (t == MU_LORA_QKV) == (import->family != MU_HF_LLAMA);
        if (gate || ((t == MU_LORA_QKV || (t >= MU_LORA_Q && t <= MU_LORA_V)) && !whole))
            continue;
        mu_hf_adapter_name(import->family, &a, &name);
        found |= mu_foreign_find(&import->list, name.data) ? 1U << t : 0U;
        mu_buf_release(&name);
    }
    return found;
}

static mu_status_t resolve(const char *path, mu_import_t *import)
{
    const mu_model_t *m = &import->config->model;
    int first = mu_model_saved_first(m), count = mu_model_tensor_count(m);
    import->of = mu_calloc((size_t)(count - first), sizeof(void *));
    for (int i = first; i < count; i++) {
        mu_tensor_t t;
        mu_buf_t name = MU_BUF_INIT;
        char was[128], is[128];
        mu_model_tensor(m, i, &t);
        mu_hf_adapter_name(import->family, &t, &name);
        const mu_foreign_tensor_t *f = mu_foreign_find(&import->list, name.data);
        mu_status_t status = MU_OK;
        if (!f)
            status = mu_fail(MU_DATA, "%s: tensor '%s' is not there", path, name.data);
        else if (f->dims != 2 || f->shape[0] != t.shape[0] || f->shape[1] != t.shape[1])
            status = mu_fail(MU_DATA, "%s: tensor '%s' is %s, " MU_PEFT_CONFIG " and the base make it %s",
                             path, f->name, mu_foreign_shape(f->dims, f->shape, was, sizeof was),
                             mu_foreign_shape(2, t.shape, is, sizeof is));
        else if (f->type == MU_FOREIGN_OTHER)
            status = mu_fail(MU_DATA, "%s: tensor '%s' is not of type F32, F16 or BF16", path, f->name);
        import->of[i - first] = f;
        mu_buf_release(&name);
        MU_TRY(status);
    }
    if (import->list.count > count - first)
        return mu_fail(MU_DATA,
                       "%s: holds %d tensors; the adapters of its layers are %d: others have no place here",
                       path, import->list.count, count - first);
    return MU_OK;
}

static mu_status_t read_rows(void *arg, int tensor, mu_state_t state, const int64_t offset[2],
                             const int64_t count[2], float *out)
{
    mu_import_t *import = arg;
    mu_tensor_t t;
    (void)state; /* weights are all that is asked for */
    mu_model_tensor(&import->config->model, mu_model_saved_first(&import->config->model) + tensor, &t);
    size_t n = (size_t)(t.shape[0] * t.shape[1]);
    if (import->whole_of != tensor) {
        float *theirs = mu_alloc(n * sizeof *theirs);
        import->whole_of = -1;
        import->whole = mu_realloc(import->whole, n * sizeof(float));
        mu_status_t status = mu_foreign_read(&import->list, import->of[tensor], 0, (int64_t)n, theirs);
        if (status == MU_OK)
            mu_hf_adapter_gather(import->family, &import->config->model, &t, theirs, import->whole);
        free(theirs);
        MU_TRY(status);
        import->whole_of = tensor;
    }
    memcpy(out, import->whole + offset[0] * t.shape[1], (size_t)(count[0] * t.shape[1]) * sizeof *out);
    return MU_OK;
}

/* The base's configuration with the adapter's settings. */
static mu_status_t make_config(const char *path, const json_t *root, const mu_checkpoint_t *base,
                               unsigned targets, mu_import_t *import)
{
    static const char *const names[MU_LORA_TARGETS] = {"query_key_value", "q_proj",       "k_proj",
                                                       "v_proj",          "dense",        "gate_proj",
                                                       "dense_h_to_4h",   "dense_4h_to_h"};
    const json_t *rank = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha"),
                 *dropout = json_object_get(root, "lora_dropout");
    mu_buf_t list = MU_BUF_INIT;
    if (!json_is_integer(rank) || json_integer_value(rank) < 1 || !json_is_number(alpha) || targets == 0)
        return mu_fail(MU_DATA, "%s: %s", path,
                       targets == 0 ? MU_PEFT_WEIGHTS " beside it has no adapter of layer 0 of this base"
                                    : "'r' and 'lora_alpha' are not there, or no numbers");
    for (int t = 0; t < MU_LORA_TARGETS; t++)
        if (targets >> t & 1U)
            mu_buf_addf(&list, "%s%s", list.len ? ", " : "", names[t]);
    char *keys[] = {mu_format("muster.lora_rank=%lld", (long long)json_integer_value(rank)),
                    mu_format("muster.lora_alpha=%.17g", json_number_value(alpha)),
                    mu_format("muster.lora_dropout=%.17g", json_number_value(dropout)),
                    mu_format("muster.lora_targets=[%s]", list.data),
                    mu_format("muster.lora_rslora=%s",
                              json_is_true(json_object_get(root, "use_rslora")) ? "true" : "false"),
                    mu_strdup("muster.lora_base=null")};
    enum { KEYS = sizeof keys / sizeof *keys };
    mu_config_t *config;
    int64_t vocab;
    mu_status_t status = mu_config_load_trained(
        mu_checkpoint_path(base), mu_checkpoint_manifest(base)->info.config, keys, KEYS, &config);
    for (int i = 0; i < KEYS; i++)
        free(keys[i]);
    mu_buf_release(&list);
    MU_TRY(status);
    mu_config_free(import->config);
    import->config = config;
    MU_TRY(mu_checkpoint_vocab(base, &vocab));
    mu_config_settle(&import->config, &(mu_config_facts_t){.vocab = vocab});
    return MU_OK;
}

/* The family of the base, and what names it in the new checkpoint. */
static mu_status_t take_base(const mu_checkpoint_t *base, mu_import_t *import)
{
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(base)->info;
    const char *path = mu_checkpoint_path(base);
    char digest[MU_DIGEST_HEX];
    mu_config_t *config;
    mu_model_type_t type;
    if (mu_checkpoint_is_adapter(base))
        return mu_fail(MU_CONFIG, "%s: is an adapter itself: name a whole model by --base", path);
    if (!info->config)
        return mu_fail(MU_DATA, "%s: holds no configuration", path);
    MU_TRY(mu_config_load_text(path, info->config, &config));
    import->config = config;
    MU_TRY(
        mu_hf_type(path, &import->config->model, (mu_model_type_t)import->config->muster.model_type, &type));
    import->family = mu_hf_family(type);
    import->what = "LoRA adapter";
    mu_checkpoint_weights_digest(base, digest);
    import->base_digest = mu_strdup(digest);
    import->base_path = realpath(path, NULL);
    import->companions = info->companions ? mu_strdup(info->companions) : NULL;
    char *tokenizer = mu_path_join(path, MU_TOKENIZER_NAME);
    if (mu_is_file(tokenizer))
        import->tokenizer = tokenizer;
    else
        free(tokenizer);
    return MU_OK;
}

static mu_status_t open_source(const char *dir, const char *config, const json_t *root,
                               const mu_checkpoint_t *base, mu_import_t *import)
{
    char *weights = mu_path_join(dir, MU_PEFT_WEIGHTS);
    mu_status_t status;
    MU_TRY_GOTO(status, refuse_others(config, root), out);
    MU_TRY_GOTO(status, take_base(base, import), out);
    MU_TRY_GOTO(status, mu_safetensors_open(weights, &import->list), out);
    MU_TRY_GOTO(status, mu_foreign_sort(&import->list), out);
    MU_TRY_GOTO(status, make_config(config, root, base, targets_in(import, &import->config->model), import),
                out);
    status = resolve(weights, import);
out:
    free(weights);
    return status;
}

mu_status_t mu_hf_adapter_source_open(const char *dir, const char *base_path, mu_import_t *out)
{
    mu_import_t import = {.read = read_rows, .whole_of = -1, .slices = 1};
    mu_checkpoint_t *base = NULL;
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    json_t *root = NULL;
    char *config = mu_path_join(dir, MU_PEFT_CONFIG);
    mu_status_t status;
    MU_TRY_GOTO(status, mu_checkpoint_newest(base_path, INT64_MAX, &base), out);
    if (!base) {
        status = mu_foreign_refuse("--base", base_path);
        goto out;
    }
    MU_TRY_GOTO(status, mu_file_read_text(config, CONFIG_LIMIT, &text), out);
    root = mu_json_parse(text.data, text.len, MU_JSON_CONFIG, &error);
    if (!root) {
        status = mu_fail(MU_DATA, "%s:%d:%d: %s", config, error.line, error.column, error.text);
        goto out;
    }
    status = open_source(dir, config, root, base, &import);
out:
    if (status == MU_OK)
        *out = import;
    else
        mu_import_release(&import);
    mu_checkpoint_close(base);
    json_decref(root);
    mu_buf_release(&text);
    free(config);
    return status;
}
