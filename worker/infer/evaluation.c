#include "worker/infer/evaluation.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/train/metrics.h"

#include <math.h>

mu_status_t mu_eval_length_parse(const char *text, int64_t *out)
{
    if (mu_parse_i64(text, out) && *out >= 1)
        return MU_OK;
    return mu_fail(MU_USAGE, "--seq-length '%s': wanted a whole number from 1", text);
}

/* Ids mean nothing under another tokenizer. Of a .bin/.idx pair nobody knows. */
static mu_status_t same_tokenizer(const mu_inference_model_t *l, const mu_dataset_t *data)
{
    mu_tokenizer_t *its;
    if (!l->tokenizer || !mu_dataset_tokenizer_path(data))
        return MU_OK;
    MU_TRY(mu_tokenizer_load(mu_dataset_tokenizer_path(data), &its));
    bool same = strcmp(mu_tokenizer_digest(l->tokenizer), mu_tokenizer_digest(its)) == 0;
    mu_tokenizer_free(its);
    return same ? MU_OK
                : mu_fail(MU_CONFIG, "%s was prepared with another tokenizer than the one of %s",
                          mu_dataset_path(data), mu_checkpoint_path(l->checkpoint));
}

static mu_status_t not_empty(const mu_inference_model_t *l, const mu_dataset_t *data, mu_data_split_t split)
{
    int64_t s = l->config->model.seq_length;
    if (mu_dataset_sequences(data, split, s) > 0)
        return MU_OK;
    return mu_fail(MU_DATA,
                   "%s: split %s has %lld tokens, fewer than one sequence of %lld and its last label",
                   mu_dataset_path(data), mu_data_split_name(split),
                   (long long)mu_dataset_tokens(data, split), (long long)s);
}

mu_status_t mu_eval_open(const mu_inference_model_t *model, const char *path, const char *ratios,
                         mu_data_split_t split, mu_dataset_t **out)
{
    /* a prepared directory is cut already; the split string is for .bin/.idx */
    mu_dataset_options_t how = {.split = mu_is_dir(path) ? NULL : ratios,
                                .vocab = model->config->model.vocab};
    mu_dataset_t *data;
    MU_TRY(mu_dataset_open(path, &how, &data));
    mu_status_t status = same_tokenizer(model, data);
    if (status == MU_OK)
        status = not_empty(model, data, split);
    if (status == MU_OK)
        *out = data;
    else
        mu_dataset_close(data);
    return status;
}

void mu_eval_values(const mu_dataset_t *data, mu_data_split_t split, const mu_net_loss_t *sum,
                    double value[MU_GATE_METRICS])
{
    double loss = sum->token_sum / (double)sum->tokens;
    uint64_t bytes = mu_dataset_text_bytes(data, split);
    value[MU_GATE_LOSS] = loss;
    value[MU_GATE_PPL] = exp(loss);
    value[MU_GATE_BITS_PER_BYTE] =
        bytes ? loss / M_LN2 * (double)mu_dataset_tokens(data, split) / (double)bytes : NAN;
    value[MU_GATE_TOKENS] = (double)sum->tokens;
}

void mu_eval_result(const mu_inference_model_t *model, const mu_dataset_t *data, mu_data_split_t split,
                    const mu_net_loss_t *sum, bool json, mu_buf_t *out)
{
    double value[MU_GATE_METRICS];
    mu_eval_values(data, split, sum, value);
    double loss = value[MU_GATE_LOSS], bpb = value[MU_GATE_BITS_PER_BYTE];
    if (!json) {
        mu_buf_addf(out, "%s on %s, split %s\n", mu_checkpoint_path(model->checkpoint), mu_dataset_path(data),
                    mu_data_split_name(split));
        mu_buf_addf(out, "loss %.6f, perplexity %.4f, ", loss, exp(loss));
        if (mu_dataset_text_bytes(data, split) > 0)
            mu_buf_addf(out, "%.4f bits per byte, ", bpb);
        mu_buf_addf(out, "%lld tokens\n", (long long)sum->tokens);
        return;
    }
    mu_buf_adds(out, "{\"loss\": ");
    mu_json_number(out, loss);
    mu_buf_adds(out, ", \"ppl\": ");
    mu_json_number(out, exp(loss));
    mu_buf_adds(out, ", \"bits_per_byte\": ");
    mu_json_number(out, bpb);
    mu_buf_addf(out, ", \"tokens\": %lld, \"split\": \"%s\", \"step\": %lld}\n", (long long)sum->tokens,
                mu_data_split_name(split), (long long)mu_checkpoint_manifest(model->checkpoint)->info.step);
}

mu_status_t mu_eval_finite(const mu_inference_model_t *model, const mu_net_loss_t *sum)
{
    double loss = sum->token_sum / (double)sum->tokens;
    if (isfinite(loss))
        return MU_OK;
    return mu_fail(
        MU_DATA,
        "%s: the loss is %g: the weights hold values that are not finite, or what the model computes "
        "overflows (precision=fp32 shows which)",
        mu_checkpoint_path(model->checkpoint), loss);
}

/* RUN of RUN/checkpoints/step-N; NULL: it lies in no run. */
static char *run_of(const mu_inference_model_t *model)
{
    static const char folder[] = "/checkpoints";
    char *path = realpath(mu_checkpoint_path(model->checkpoint), NULL),
         *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        *slash = '\0';
    size_t n = path ? strlen(path) : 0, m = sizeof folder - 1;
    if (!slash || n <= m || strcmp(path + n - m, folder) != 0) {
        free(path);
        return NULL;
    }
    path[n - m] = '\0';
    return path;
}

static void add_record(const mu_inference_model_t *model, const mu_dataset_t *data, mu_data_split_t split,
                       const mu_net_loss_t *sum, const char *manifest, mu_buf_t *out)
{
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(model->checkpoint)->info;
    char config[MU_DIGEST_HEX] = "";
    double value[MU_GATE_METRICS];
    mu_eval_values(data, split, sum, value);
    if (info->config)
        mu_digest_bytes(info->config, strlen(info->config), config);
    mu_buf_adds(out, "{");
    for (int i = 0; i < MU_GATE_TOKENS; i++) {
        mu_buf_addf(out, "\"%s\": ", mu_gate_metric_name((mu_gate_metric_t)i));
        mu_json_number(out, value[i]);
        mu_buf_adds(out, ", ");
    }
    mu_buf_addf(out, "\"tokens\": %lld, \"split\": \"%s\", \"step\": %lld, \"seq_length\": %lld, ",
                (long long)sum->tokens, mu_data_split_name(split), (long long)info->step,
                (long long)model->config->model.seq_length);
    mu_buf_addf(out, "\"model\": \"%s\", \"data_version\": \"%s\", \"config\": \"%s\", \"time\": %.3f}\n",
                manifest, mu_dataset_version(data), config, mu_wall_seconds());
}

void mu_eval_keep(const mu_inference_model_t *model, const mu_dataset_t *data, mu_data_split_t split,
                  const mu_net_loss_t *sum)
{
    char *run = run_of(model), digest[MU_DIGEST_HEX];
    if (!run)
        return;
    char *manifest = mu_path_join(mu_checkpoint_path(model->checkpoint), "manifest.json");
    char *dir = mu_path_join(run, "eval"),
         *path = mu_format("%s/%s-%s.json", dir, mu_data_split_name(split), mu_dataset_version(data));
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_digest_file(manifest, digest);
    if (status == MU_OK)
        status = mu_make_dirs(dir, 0777);
    if (status == MU_OK) {
        add_record(model, data, split, sum, digest, &text);
        status = mu_file_replace(path, text.data, text.len, 0666);
    }
    if (status != MU_OK)
        mu_warn("%s: this result is not kept there", path);
    mu_buf_release(&text);
    free(path);
    free(dir);
    free(manifest);
    free(run);
}
