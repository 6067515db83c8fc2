#include "dataset/order/mixture.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"

typedef struct group {
    mu_blend_part_t *parts;
    int count;
} group_t;

struct mu_mixture {
    mu_dataset_t *single; /* NULL: the groups own their data sets */
    group_t group[2];     /* MU_TRAIN, MU_VALID */
    mu_cutting_t how;
    char version[MU_DIGEST_HEX];
};

static int length(char *const *paths)
{
    int n = 0;
    while (paths && paths[n])
        n++;
    return n;
}

/* The split that has all documents. */
static mu_status_t whole_split(const mu_dataset_t *data, mu_data_split_t *out)
{
    int filled = 0;
    for (int s = 0; s < MU_DATA_SPLITS; s++)
        if (mu_dataset_documents(data, (mu_data_split_t)s) > 0) {
            *out = (mu_data_split_t)s;
            filled++;
        }
    if (filled == 1)
        return MU_OK;
    return mu_fail(MU_CONFIG,
                   "%s: %s: in a list of data paths each path is used whole: prepare it with split=1,0,0",
                   mu_dataset_path(data),
                   filled == 0 ? "holds no documents" : "is cut into training, validation and test data");
}

static mu_status_t open_labels(const char *path, mu_dataset_t *data)
{
    mu_dataset_options_t how = {.split = "1,0,0", .labels = true};
    mu_dataset_t *labels;
    MU_TRY(mu_dataset_open(path, &how, &labels));
    mu_status_t status = mu_dataset_take_labels(data, labels);
    if (status != MU_OK)
        mu_dataset_close(labels);
    return status;
}

static mu_status_t open_part(const char *path, mu_blend_part_t *part)
{
    char *index = mu_format("%s/manifest.json", path);
    FILE *prepared = fopen(index, "r");
    /* a prepared directory is cut already, and would warn of another split */
    mu_dataset_options_t how = {.split = prepared ? NULL : "1,0,0"};
    if (prepared)
        fclose(prepared);
    free(index);
    MU_TRY(mu_dataset_open(path, &how, &part->data));
    return whole_split(part->data, &part->split);
}

static mu_status_t open_list(const mu_mixture_list_t *list, const mu_mixture_options_t *options, group_t *out)
{
    int n = length(list->paths);
    int64_t *documents = mu_calloc((size_t)n + 1, sizeof *documents);
    double *weights = mu_calloc((size_t)n + 1, sizeof *weights);
    mu_status_t status = MU_OK;
    out->parts = mu_calloc((size_t)n + 1, sizeof *out->parts);
    for (int i = 0; status == MU_OK && i < n; i++) {
        out->count = i + 1;
        status = open_part(list->paths[i], &out->parts[i]);
        if (status == MU_OK && list->labels)
            status = open_labels(list->labels[i], out->parts[i].data);
        if (status == MU_OK)
            documents[i] = mu_dataset_documents(out->parts[i].data, out->parts[i].split);
    }
    if (status == MU_OK && n > 0 && options->by_documents)
        mu_blend_by_documents(documents, n, options->alpha, weights);
    for (int i = 0; status == MU_OK && i < n; i++)
        out->parts[i].weight = options->by_documents ? weights[i] : list->weights ? list->weights[i] : 1.0;
    free(weights);
    free(documents);
    return status;
}

static mu_status_t same_tokenizers(const mu_mixture_t *m)
{
    const mu_dataset_t *first = NULL;
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < m->group[g].count; i++) {
            const mu_dataset_t *data = m->group[g].parts[i].data;
            if (!mu_dataset_tokenizer_digest(data))
                continue;
            if (!first)
                first = data;
            else if (strcmp(mu_dataset_tokenizer_digest(data), mu_dataset_tokenizer_digest(first)) != 0)
                return mu_fail(MU_CONFIG, "'%s' and '%s' were prepared with different tokenizers",
                               mu_dataset_path(first), mu_dataset_path(data));
        }
    return MU_OK;
}

static void make_version(mu_mixture_t *m)
{
    mu_buf_t text = MU_BUF_INIT;
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < m->group[g].count; i++) {
            const mu_blend_part_t *p = &m->group[g].parts[i];
            mu_buf_addf(&text, "%d %s %d %.17g\n", g, mu_dataset_version(p->data), (int)p->split, p->weight);
        }
    mu_digest_bytes(text.data, text.len, m->version);
    mu_buf_release(&text);
}

static mu_status_t open_single(mu_mixture_t *m, const mu_mixture_options_t *options)
{
    mu_dataset_options_t how = {.split = options->split};
    MU_TRY(mu_dataset_open(options->path, &how, &m->single));
    for (int g = 0; g < 2; g++) {
        m->group[g].parts = mu_calloc(1, sizeof *m->group[g].parts);
        m->group[g].parts[0] = (mu_blend_part_t){m->single, (mu_data_split_t)g, 1.0};
        m->group[g].count = 1;
    }
    snprintf(m->version, sizeof m->version, "%s", mu_dataset_version(m->single));
    return MU_OK;
}

mu_status_t mu_mixture_open(const mu_mixture_options_t *options, mu_mixture_t **out)
{
    mu_mixture_t *m = mu_calloc(1, sizeof *m);
    mu_status_t status;
    m->how = options->how;
    if (options->path) {
        status = open_single(m, options);
    } else {
        status = open_list(&options->train, options, &m->group[MU_TRAIN]);
        if (status == MU_OK)
            status = open_list(&options->valid, options, &m->group[MU_VALID]);
        if (status == MU_OK)
            status = same_tokenizers(m);
        if (status == MU_OK)
            make_version(m);
    }
    if (status == MU_OK)
        *out = m;
    else
        mu_mixture_close(m);
    return status;
}

void mu_mixture_close(mu_mixture_t *m)
{
    if (!m)
        return;
    for (int g = 0; g < 2; g++) {
        for (int i = 0; !m->single && i < m->group[g].count; i++)
            mu_dataset_close(m->group[g].parts[i].data);
        free(m->group[g].parts);
    }
    mu_dataset_close(m->single);
    free(m);
}

const char *mu_mixture_path(const mu_mixture_t *m)
{
    return m->group[MU_TRAIN].count > 0 ? mu_dataset_path(m->group[MU_TRAIN].parts[0].data)
                                        : "train_data_paths";
}

int64_t mu_mixture_documents(const mu_mixture_t *m, mu_data_split_t split)
{
    int64_t sum = 0;
    for (int i = 0; i < m->group[split].count; i++)
        sum += mu_dataset_documents(m->group[split].parts[i].data, m->group[split].parts[i].split);
    return sum;
}

int64_t mu_mixture_tokens(const mu_mixture_t *m, mu_data_split_t split)
{
    int64_t sum = 0;
    for (int i = 0; i < m->group[split].count; i++)
        sum += mu_dataset_tokens(m->group[split].parts[i].data, m->group[split].parts[i].split);
    return sum;
}

bool mu_mixture_wants(const mu_mixture_t *m, mu_data_split_t split)
{
    return m->single ? mu_dataset_wants(m->single, split) : m->group[split].count > 0;
}

const char *mu_mixture_tokenizer(const mu_mixture_t *m)
{
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < m->group[g].count; i++)
            if (mu_dataset_tokenizer_path(m->group[g].parts[i].data))
                return mu_dataset_tokenizer_path(m->group[g].parts[i].data);
    return NULL;
}

int64_t mu_mixture_vocab(const mu_mixture_t *m)
{
    int64_t most = 0;
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < m->group[g].count; i++)
            most = mu_max_i64(most, mu_dataset_vocab(m->group[g].parts[i].data));
    return most;
}

void mu_mixture_limit(mu_mixture_t *m, int64_t vocab)
{
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < m->group[g].count; i++)
            mu_dataset_limit(m->group[g].parts[i].data, vocab);
}

const char *mu_mixture_version(const mu_mixture_t *m)
{
    return m->version;
}

mu_dataset_t *mu_mixture_single(const mu_mixture_t *m)
{
    return m->single;
}

bool mu_mixture_packs(const mu_mixture_t *m)
{
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < m->group[g].count; i++)
            if (mu_packing_of(&m->how, m->group[g].parts[i].data) != MU_PACK_STREAM)
                return true;
    return false;
}

const json_t *mu_mixture_chat(const mu_mixture_t *m)
{
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < m->group[g].count; i++)
            if (mu_dataset_chat(m->group[g].parts[i].data))
                return mu_dataset_chat(m->group[g].parts[i].data);
    return NULL;
}

int64_t mu_mixture_epoch_samples(const mu_mixture_t *m, int64_t seq_length, uint32_t seed, int64_t epochs)
{
    return mu_cutting_epoch_samples(m->single, MU_TRAIN, seq_length, &m->how, seed, epochs);
}

mu_status_t mu_mixture_order(const mu_mixture_t *m, mu_data_split_t split, int64_t seq_length, uint32_t seed,
                             int64_t samples, const char *cache_dir, mu_blend_t **out)
{
    if (!m->single)
        return mu_blend_open_cut(m->group[split].parts, m->group[split].count, seq_length, &m->how, seed,
                                 samples, cache_dir, out);
    return mu_blend_single(m->single, split, seq_length, &m->how, seed, samples, cache_dir, out);
}
