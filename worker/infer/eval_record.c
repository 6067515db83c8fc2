#include "worker/infer/eval_record.h"
#include "common/checkpoint/reference.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/log.h"
#include "worker/train/metrics.h"

#include <math.h>

/* 0: not known, also where only a part of the text's tokens counts. */
static uint64_t text_bytes(const mu_measured_t *m)
{
    return mu_dataset_labelled(m->data) ? 0 : mu_dataset_text_bytes(m->data, m->split);
}

void mu_eval_values(const mu_measured_t *m, double value[MU_GATE_METRICS])
{
    for (int i = 0; i < MU_GATE_METRICS; i++)
        value[i] = (double)NAN;
    if (m->data) {
        double loss = m->sum.token_sum / (double)m->sum.tokens;
        uint64_t bytes = text_bytes(m);
        value[MU_GATE_LOSS] = loss;
        value[MU_GATE_PPL] = exp(loss);
        value[MU_GATE_TOKENS] = (double)m->sum.tokens;
        if (bytes > 0)
            value[MU_GATE_BITS_PER_BYTE] =
                loss / M_LN2 * (double)mu_dataset_tokens(m->data, m->split) / (double)bytes;
    }
    if (m->labelled && m->accuracy.nonfinite == 0) {
        value[MU_GATE_ACC] = (double)m->accuracy.right / (double)m->accuracy.examples;
        value[MU_GATE_ACC_NORM] = (double)m->accuracy.right_norm / (double)m->accuracy.examples;
    }
}

static void add_text(const mu_inference_model_t *model, const mu_measured_t *m, const double *value,
                     mu_buf_t *out)
{
    if (m->data) {
        mu_buf_addf(out, "%s on %s, split %s\n", mu_checkpoint_path(model->checkpoint),
                    mu_dataset_path(m->data), mu_data_split_name(m->split));
        mu_buf_addf(out, "loss %.6f, perplexity %.4f, ", value[MU_GATE_LOSS], value[MU_GATE_PPL]);
        if (text_bytes(m) > 0)
            mu_buf_addf(out, "%.4f bits per byte, ", value[MU_GATE_BITS_PER_BYTE]);
        mu_buf_addf(out, "%lld tokens\n", (long long)m->sum.tokens);
    }
    if (m->labelled) {
        mu_buf_addf(out, "%s on %s\n", mu_checkpoint_path(model->checkpoint), m->labelled->path);
        mu_buf_addf(out, "acc %.4f, acc_norm %.4f, %lld examples\n", value[MU_GATE_ACC],
                    value[MU_GATE_ACC_NORM], (long long)m->accuracy.examples);
    }
}

static void add_number(const char *name, double value, mu_buf_t *out)
{
    mu_buf_addf(out, "\"%s\": ", name);
    mu_json_number(out, value);
    mu_buf_adds(out, ", ");
}

/* The members of a data set, then those of labelled examples, each with a comma after it. */
static void add_measured(const mu_measured_t *m, mu_buf_t *out)
{
    double value[MU_GATE_METRICS];
    mu_eval_values(m, value);
    if (m->data) {
        for (int i = 0; i < MU_GATE_TOKENS; i++)
            add_number(mu_gate_metric_name((mu_gate_metric_t)i), value[i], out);
        mu_buf_addf(out, "\"tokens\": %lld, \"split\": \"%s\", ", (long long)m->sum.tokens,
                    mu_data_split_name(m->split));
    }
    if (m->labelled) {
        add_number("acc", value[MU_GATE_ACC], out);
        add_number("acc_norm", value[MU_GATE_ACC_NORM], out);
        mu_buf_addf(out, "\"examples\": %lld, ", (long long)m->accuracy.examples);
    }
}

void mu_eval_result(const mu_inference_model_t *model, const mu_measured_t *m, bool json, mu_buf_t *out)
{
    double value[MU_GATE_METRICS];
    mu_eval_values(m, value);
    if (!json) {
        add_text(model, m, value, out);
        return;
    }
    mu_buf_addc(out, '{');
    add_measured(m, out);
    mu_buf_addf(out, "\"step\": %lld}\n", (long long)mu_checkpoint_manifest(model->checkpoint)->info.step);
}

mu_status_t mu_eval_finite(const mu_inference_model_t *model, const mu_measured_t *m)
{
    double loss = m->data ? m->sum.token_sum / (double)m->sum.tokens : 0;
    if (isfinite(loss) && m->accuracy.nonfinite == 0)
        return MU_OK;
    return mu_fail(
        MU_DATA,
        "%s: the loss is %g: the weights hold values that are not finite, or what the model computes "
        "overflows (precision=fp32 shows which)",
        mu_checkpoint_path(model->checkpoint), m->accuracy.nonfinite > 0 ? (double)NAN : loss);
}

static void add_record(const mu_inference_model_t *model, const mu_measured_t *m, const char *manifest,
                       const char *version, mu_buf_t *out)
{
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(model->checkpoint)->info;
    char config[MU_DIGEST_HEX] = "";
    if (info->config)
        mu_digest_bytes(info->config, strlen(info->config), config);
    mu_buf_addc(out, '{');
    add_measured(m, out);
    if (m->labelled)
        mu_buf_adds(out, "\"split\": \"labelled\", ");
    mu_buf_addf(out, "\"step\": %lld, \"seq_length\": %lld, ", (long long)info->step,
                (long long)model->config->model.seq_length);
    mu_buf_addf(out, "\"model\": \"%s\", \"data_version\": \"%s\", \"config\": \"%s\", \"time\": %.3f}\n",
                manifest, version, config, mu_wall_seconds());
}

static void keep(const mu_inference_model_t *model, const mu_measured_t *m, const char *run,
                 const char *split, const char *version)
{
    char digest[MU_DIGEST_HEX],
        *manifest = mu_path_join(mu_checkpoint_path(model->checkpoint), MU_MANIFEST_NAME);
    char *dir = mu_path_join(run, "eval"), *path = mu_format("%s/%s-%s.json", dir, split, version);
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_digest_file(manifest, digest);
    if (status == MU_OK)
        status = mu_make_dirs(dir, 0777);
    if (status == MU_OK) {
        add_record(model, m, digest, version, &text);
        status = mu_file_replace(path, text.data, text.len, 0666);
    }
    if (status != MU_OK)
        mu_warn("%s: this result is not kept there", path);
    mu_buf_release(&text);
    free(path);
    free(dir);
    free(manifest);
}

void mu_eval_keep(const mu_inference_model_t *model, const mu_measured_t *m)
{
    char *run = mu_reference_run(mu_checkpoint_path(model->checkpoint));
    mu_measured_t data = *m, labelled = *m;
    data.labelled = NULL;
    labelled.data = NULL;
    if (run && m->data)
        keep(model, &data, run, mu_data_split_name(m->split), mu_dataset_version(m->data));
    if (run && m->labelled)
        keep(model, &labelled, run, "labelled", m->labelled->digest);
    free(run);
}
