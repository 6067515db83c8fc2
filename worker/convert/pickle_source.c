/* gpt-neox's own checkpoints as the source of an import (worker/convert/hf_import.h). */
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/checkpoint/manifest.h"
#include "worker/convert/hf_import.h"
#include "worker/convert/pickle.h"

#include <dirent.h>
#include <limits.h>
#include <unistd.h>

enum { SLICES_MAX = 256, LAYERS_MAX = 10100, LATEST_LIMIT = 256 };

/* Reads digits; false when there is none or the number is not below `limit`. */
static bool take_digits(const char **text, int limit, int *out)
{
    const char *p = *text;
    int n = 0;
    for (; *p >= '0' && *p <= '9' && n < limit; p++)
        n = 10 * n + (*p - '0');
    bool good = p > *text && n < limit;
    *text = p;
    *out = n;
    return good;
}

static bool take_text(const char **text, const char *want)
{
    size_t n = strlen(want);
    if (strncmp(*text, want, n) != 0)
        return false;
    *text += n;
    return true;
}

/* layer_XX-model_YY-model_states.pt */
static bool parse_name(const char *name, int *layer, int *slice)
{
    return take_text(&name, "layer_") && take_digits(&name, LAYERS_MAX, layer) &&
           take_text(&name, "-model_") && take_digits(&name, SLICES_MAX, slice) &&
           strcmp(name, "-model_states.pt") == 0;
}

/* mp_rank_YY_model_states.pt: all layers of a slice, where the run had no pipeline stages; else without weights, beside
 * layer files. What ZeRO writes (zero_pp_rank_...) has other names, and none of the weights that are not there too. */
static bool parse_states(const char *name, int *slice)
{
    return take_text(&name, "mp_rank_") && take_digits(&name, SLICES_MAX, slice) &&
           strcmp(name, "_model_states.pt") == 0;
}

/* Whether a folder holds files of either kind. */
static bool has_files(const char *dir, bool layers)
{
    DIR *stream = opendir(dir);
    int layer, slice;
    bool found = false;
    for (struct dirent *e; stream && !found && (e = readdir(stream));)
        found = layers ? parse_name(e->d_name, &layer, &slice) : parse_states(e->d_name, &slice);
    if (stream)
        closedir(stream);
    return found;
}

static bool has_layers(const char *dir)
{
    return has_files(dir, true) || has_files(dir, false);
}

/* The directory of the layers: DIR, or the one that DIR/latest names. free() it; NULL when there is none. */
static char *layers_dir(const char *dir)
{
    mu_buf_t name = MU_BUF_INIT;
    if (has_layers(dir))
        return mu_strdup(dir);
    char *latest = mu_path_join(dir, "latest"), *path = NULL;
    if (mu_is_file(latest) && mu_file_read(latest, LATEST_LIMIT, &name) == MU_OK) {
        name.data[strcspn(name.data, "\n")] = '\0';
        if (mu_manifest_name_ok(name.data))
            path = mu_path_join(dir, name.data);
    }
    if (path && !has_layers(path)) {
        free(path);
        path = NULL;
    }
    mu_buf_release(&name);
    free(latest);
    return path;
}

bool mu_neox_source_is(const char *dir)
{
    char *layers = layers_dir(dir);
    free(layers);
    return layers != NULL;
}

/* ---- configuration ---- */

static int is_yaml(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 4 && strcmp(e->d_name + n - 4, ".yml") == 0;
}

static mu_status_t load_stored(const char *dir, mu_config_t **out)
{
    struct dirent **names = NULL;
    char *configs = mu_path_join(dir, "configs");
    int n = mu_is_dir(configs) ? scandir(configs, &names, is_yaml, alphasort) : 0;
    char **paths = mu_calloc((size_t)(n > 0 ? n : 0) + 1, sizeof *paths);
    for (int i = 0; i < n; i++) {
        paths[i] = mu_path_join(configs, names[i]->d_name);
        free(names[i]);
    }
    mu_status_t status =
        n > 0
            ? mu_config_load(paths, n, NULL, 0, out)
            : mu_fail(MU_NOINPUT, "%s: there is no *.yml: name the model's own files with --config", configs);
    for (int i = 0; i < n; i++)
        free(paths[i]);
    free(paths);
    free(names);
    free(configs);
    return status;
}

static mu_status_t open_config(const char *dir, char *const *configs, int nconfigs, mu_import_t *import)
{
    mu_config_t *config;
    if (nconfigs > 0)
        MU_TRY(mu_config_load(configs, nconfigs, NULL, 0, &config));
    else
        MU_TRY(load_stored(dir, &config));
    import->config = config;
    const mu_model_t *m = &import->config->model;
    if (m->layers < 1 || m->hidden < 1 || m->heads < 1 || m->max_positions < 1)
        return mu_fail(MU_CONFIG,
                       "the configuration of '%s' describes no model: it needs num_layers, hidden_size, "
                       "num_attention_heads, seq_length and max_position_embeddings",
                       dir);
    if (m->qk_norm)
        return mu_fail(
            MU_CONFIG,
            "the configuration of '%s' has use_qk_layernorm: gpt-neox's weights [heads][head_dim], shared by "
            "queries and keys, have no place in ours",
            dir);
    return MU_OK;
}

/* ---- files and tensors ---- */

/* "sequential.3.attention.dense.weight" of slice 1 becomes "3/1/attention.dense.weight", as of layer file 3. */
static mu_status_t open_states(const char *path, int slice, mu_import_t *import)
{
    int first = import->list.count, layer;
    MU_TRY(mu_torch_open(path, "module", "", &import->list));
    for (int i = first; i < import->list.count; i++) {
        mu_foreign_tensor_t *t = &import->list.tensors[i];
        const char *rest = t->name;
        if (!take_text(&rest, "sequential.") || !take_digits(&rest, LAYERS_MAX, &layer) ||
            !take_text(&rest, "."))
            return mu_fail(MU_DATA,
                           "%s: tensor '%s' is not called as gpt-neox calls its own, 'sequential.N...'", path,
                           t->name);
        char *name = mu_format("%d/%d/%s", layer, slice, rest);
        free(t->name);
        t->name = name;
    }
    return MU_OK;
}

/* The tensors are called "3/1/attention.dense.weight": layer file 3, slice 1. */
static mu_status_t open_files(const char *dir, mu_import_t *import)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, NULL, alphasort), widest = 0;
    mu_status_t status = n < 0 ? mu_fail(MU_IO, "%s: cannot read directory", dir) : MU_OK;
    import->by_layer = has_files(dir, true);
    for (int i = 0; i < n; i++) {
        int layer, slice;
        if (status == MU_OK && parse_name(names[i]->d_name, &layer, &slice)) {
            char *path = mu_path_join(dir, names[i]->d_name), prefix[32];
            snprintf(prefix, sizeof prefix, "%d/%d/", layer, slice);
            status = mu_torch_open(path, NULL, prefix, &import->list);
            widest = slice > widest ? slice : widest;
            free(path);
        } else if (status == MU_OK && !import->by_layer && parse_states(names[i]->d_name, &slice)) {
            char *path = mu_path_join(dir, names[i]->d_name);
            status = open_states(path, slice, import);
            widest = slice > widest ? slice : widest;
            free(path);
        }
        free(names[i]);
    }
    free(names);
    import->slices = widest + 1;
    return status == MU_OK ? mu_foreign_sort(&import->list) : status;
}

/* Where gpt-neox keeps a tensor, and under which name; `old` is what it was called before or, of an RMS norm that is
 * not fused, is called; or NULL. */
static int place_of(const mu_model_t *m, const mu_tensor_t *t, const char **name, const char **old)
{
    *old = NULL;
    switch (t->kind) {
    case MU_T_EMBED_IN:
        *name = "word_embeddings.weight";
        return 0;
    case MU_T_EMBED_POS:
        *name = "position_embeddings.weight";
        return 0;
    case MU_T_LN1_W:
    case MU_T_LN2_W:
        *name = t->kind == MU_T_LN1_W ? "input_layernorm.weight" : "post_attention_layernorm.weight";
        *old = t->kind == MU_T_LN1_W ? "input_layernorm.scale" : "post_attention_layernorm.scale";
        break;
    case MU_T_LNF_W:
    case MU_T_LNF_B:
        *name = t->kind == MU_T_LNF_W ? "norm.weight" : "norm.bias";
        *old = t->kind == MU_T_LNF_W ? "norm.scale" : NULL;
        return (int)m->layers + 3;
    case MU_T_EMBED_OUT:
        *name = "final_linear.weight";
        return (int)m->layers + 4;
    case MU_T_GATE_W: /* one tensor with the next */
    case MU_T_FC1_W:
        *name = "mlp.linear1.weight";
        *old = "mlp.dense_h_to_4h.weight";
        break;
    case MU_T_GATE_B:
    case MU_T_FC1_B:
        *name = "mlp.linear1.bias";
        *old = "mlp.dense_h_to_4h.bias";
        break;
    case MU_T_FC2_W:
        *name = "mlp.linear2.weight";
        *old = "mlp.dense_4h_to_h.weight";
        break;
    case MU_T_FC2_B:
        *name = "mlp.linear2.bias";
        *old = "mlp.dense_4h_to_h.bias";
        break;
    default: /* ours are called after theirs */
        *name = strchr(strchr(t->name, '.') + 1, '.') + 1;
        break;
    }
    return t->layer + 2;
}

static const mu_foreign_tensor_t *find(const mu_import_t *import, int file, int slice, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%d/%d/%s", file, slice, name);
    return mu_foreign_find(&import->list, full);
}

/* A gated MLP's first product holds [what is multiplied; what gates] of each slice. */
static bool in_gated_product(const mu_model_t *m, const mu_tensor_t *t)
{
    return mu_model_gated(m) && (t->kind == MU_T_FC1_W || t->kind == MU_T_FC1_B || t->kind == MU_T_GATE_W ||
                                 t->kind == MU_T_GATE_B);
}

static mu_status_t resolve_one(const char *dir, mu_import_t *import, int index, int slice)
{
    mu_tensor_t t;
    int64_t offset[2], want[2];
    const char *name = NULL, *old = NULL;
    char a[128], b[128];
    const mu_model_t *m = &import->config->model;
    mu_model_tensor(m, index, &t);
    int file = place_of(m, &t, &name, &old);
    mu_tensor_slice(&t, import->slices, slice, offset, want);
    if (in_gated_product(m, &t))
        want[0] *= 2;
    const mu_foreign_tensor_t *f = find(import, file, slice, name);
    if (!f && old)
        f = find(import, file, slice, old);
    if (!f)
        return import->by_layer
                   ? mu_fail(MU_DATA, "%s: layer_%02d-model_%02d-model_states.pt: tensor '%s' is not there",
                             dir, file, slice, name)
                   : mu_fail(MU_DATA,
                             "%s: mp_rank_%02d_model_states.pt: tensor 'sequential.%d.%s' is not there", dir,
                             slice, file, name);
    if (f->dims != t.dims || f->shape[0] != want[0] || (t.dims == 2 && f->shape[1] != want[1]))
        return mu_fail(MU_DATA, "%s: tensor '%s' is %s, the configuration makes it %s",
                       mu_foreign_path(&import->list, f), name,
                       mu_foreign_shape(f->dims, f->shape, a, sizeof a),
                       mu_foreign_shape(t.dims, want, b, sizeof b));
    if (f->type == MU_FOREIGN_OTHER)
        return mu_fail(MU_DATA, "%s: tensor '%s' is not of type fp32, fp16 or bf16",
                       mu_foreign_path(&import->list, f), name);
    import->of[index * import->slices + slice] = f;
    return MU_OK;
}

/* Of no use: an old table, the second norm that gpt_j_tied leaves alone, and the copy of a tied embedding. */
static bool is_idle(const mu_model_t *m, const char *name)
{
    return strstr(name, "rotary_emb.inv_freq") ||
           (m->residual == MU_RESIDUAL_PARALLEL_TIED && strstr(name, "/post_attention_layernorm.")) ||
           (m->tied_head && strtol(name, NULL, 10) == m->layers + 4);
}

static mu_status_t refuse_others(const mu_import_t *import, int used)
{
    for (int i = 0; i < import->list.count; i++) {
        const mu_foreign_tensor_t *f = &import->list.tensors[i];
        bool known = is_idle(&import->config->model, f->name);
        for (int k = 0; !known && k < used; k++)
            known = import->of[k] == f;
        if (!known)
            return mu_fail(MU_DATA,
                           "%s: tensor '%s' has no place in the model that the configuration describes",
                           mu_foreign_path(&import->list, f), strchr(strchr(f->name, '/') + 1, '/') + 1);
    }
    return MU_OK;
}

static mu_status_t resolve(const char *dir, mu_import_t *import)
{
    const mu_foreign_tensor_t *embedding = find(import, 0, 0, "word_embeddings.weight");
    int tp = import->slices;
    if (!embedding || embedding->dims != 2)
        return mu_fail(MU_DATA, "%s: %s holds no word_embeddings.weight", dir,
                       import->by_layer ? "layer_00-model_00-model_states.pt" : "mp_rank_00_model_states.pt");
    mu_config_settle(&import->config, &(mu_config_facts_t){.vocab = embedding->shape[0] * tp});
    const mu_model_t *m = &import->config->model;
    if (m->heads % tp != 0 || mu_model_kv_heads(m) % tp != 0 || m->ffn % tp != 0)
        return mu_fail(
            MU_DATA, "%s: %d slices do not divide %lld heads, %lld key/value heads and an MLP of width %lld",
            dir, tp, (long long)m->heads, (long long)mu_model_kv_heads(m), (long long)m->ffn);
    int count = mu_model_tensor_count(m);
    import->of = mu_calloc((size_t)count * (size_t)tp, sizeof(void *));
    for (int i = 0; i < count; i++)
        for (int k = 0; k < tp; k++)
            MU_TRY(resolve_one(dir, import, i, k));
    return refuse_others(import, count * tp);
}

/* ---- reading ---- */

/* What every slice holds whole: the mean of the copies, or their sum. */
static mu_status_t read_copies(mu_import_t *import, const mu_foreign_tensor_t **of, bool sum, int64_t first,
                               int64_t n, float *out)
{
    double *total = mu_calloc((size_t)n, sizeof *total);
    mu_status_t status = MU_OK;
    for (int k = 0; status == MU_OK && k < import->slices; k++) {
        status = mu_foreign_read(&import->list, of[k], first, n, out);
        for (int64_t i = 0; status == MU_OK && i < n; i++)
            total[i] += (double)out[i];
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(sum ? total[i] : total[i] / import->slices);
    free(total);
    return status;
}

static mu_status_t read_columns(mu_import_t *import, const mu_foreign_tensor_t **of, int64_t first,
                                int64_t rows, int64_t cols, float *out)
{
    int64_t part = cols / import->slices;
    float *piece = mu_alloc((size_t)(rows * part) * sizeof *piece);
    mu_status_t status = MU_OK;
    for (int k = 0; status == MU_OK && k < import->slices; k++) {
        status = mu_foreign_read(&import->list, of[k], first * part, rows * part, piece);
        for (int64_t r = 0; status == MU_OK && r < rows; r++)
            memcpy(out + r * cols + k * part, piece + r * part, (size_t)part * sizeof *piece);
    }
    free(piece);
    return status;
}

/* Our row `row`: in which slice it is and which row of that; returns how many of the rows from there on are neighbours
 * in both. With grouped queries a slice holds [its queries][its keys][its values]. */
static int64_t row_run(const mu_model_t *m, const mu_tensor_t *t, int slices, int64_t row, int *slice,
                       int64_t *theirs)
{
    int64_t part = t->shape[0] / slices, kv = mu_model_kv_heads(m), d = mu_model_head_dim(m);
    *slice = (int)(row / part);
    *theirs = row % part;
    if (t->kind == MU_T_GATE_W || t->kind == MU_T_GATE_B)
        *theirs += part;
    if ((t->kind != MU_T_QKV_W && t->kind != MU_T_QKV_B) || kv == m->heads)
        return part - row % part;
    int64_t group = m->heads / kv, head = row % part / d, of = head / (group + 2), in = head % (group + 2);
    int64_t first = in < group    ? of * group + in
                    : in == group ? m->heads / slices + of
                                  : (m->heads + kv) / slices + of;
    *theirs = first * d + row % d;
    return d - row % d;
}

static mu_status_t read_rows_of(mu_import_t *import, const mu_foreign_tensor_t **of, const mu_tensor_t *t,
                                int64_t first, int64_t rows, float *out)
{
    int64_t cols = t->shape[1], n, theirs;
    for (int64_t done = 0; done < rows; done += n) {
        int slice;
        n = row_run(&import->config->model, t, import->slices, first + done, &slice, &theirs);
        n = mu_min_i64(n, rows - done);
        MU_TRY(mu_foreign_read(&import->list, of[slice], theirs * cols, n * cols, out + done * cols));
    }
    return MU_OK;
}

static mu_status_t read_rows(void *arg, int tensor, mu_state_t state, const int64_t offset[2],
                             const int64_t count[2], float *out)
{
    mu_import_t *import = arg;
    const mu_model_t *m = &import->config->model;
    const mu_foreign_tensor_t **of = import->of + (ptrdiff_t)tensor * import->slices;
    mu_tensor_t t;
    (void)state; /* weights are all that is asked for */
    mu_model_tensor(m, tensor, &t);
    bool partial = t.kind == MU_T_DENSE_B || t.kind == MU_T_FC2_B;
    if (t.split == MU_SPLIT_ROWS)
        return read_rows_of(import, of, &t, offset[0], count[0], out);
    if (t.split == MU_SPLIT_COLS)
        return read_columns(import, of, offset[0], count[0], t.shape[1], out);
    return read_copies(import, of, partial && m->residual != MU_RESIDUAL_SEQUENTIAL, offset[0] * t.shape[1],
                       count[0] * t.shape[1], out);
}

mu_status_t mu_neox_source_open(const char *dir, char *const *configs, int nconfigs, mu_import_t *out)
{
    mu_import_t import = {.read = read_rows, .whole_of = -1, .what = "GPT-NeoX model"};
    char *layers = layers_dir(dir);
    mu_status_t status;
    if (!layers)
        return mu_fail(MU_NOINPUT,
                       "%s: holds neither layer_XX-model_YY-model_states.pt nor mp_rank_YY_model_states.pt",
                       dir);
    MU_TRY_GOTO(status, open_config(layers, configs, nconfigs, &import), out);
    MU_TRY_GOTO(status, open_files(layers, &import), out);
    MU_TRY_GOTO(status, resolve(layers, &import), out);
    if (import.config->vocab_file && access(import.config->vocab_file, R_OK) == 0) {
        import.tokenizer = mu_strdup(import.config->vocab_file);
        import.merges = import.config->merge_file;
    }
    if (!import.tokenizer)
        import.tokenizer = mu_import_find_tokenizer(layers);
    *out = import;
out:
    if (status != MU_OK)
        mu_import_release(&import);
    free(layers);
    return status;
}
