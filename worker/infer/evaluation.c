#include "worker/infer/evaluation.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

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
                         mu_data_split_t split, mu_eval_data_t *out)
{
    /* a prepared directory is cut already; the split string is for .bin/.idx */
    mu_dataset_options_t how = {.split = mu_is_dir(path) ? NULL : ratios,
                                .vocab = model->config->model.vocab};
    mu_dataset_t *data;
    MU_TRY(mu_dataset_open(path, &how, &data));
    mu_eval_data_t opened = {.set = data, .split = split, .seq_length = model->config->model.seq_length};
    mu_cutting_t fit = {.packing = MU_PACK_FIRST_FIT};
    mu_status_t status = same_tokenizer(model, data);
    if (status == MU_OK && mu_dataset_chat(data))
        status = mu_pack_open(data, split, opened.seq_length, &fit, true, 0, 0, &opened.pack);
    else if (status == MU_OK)
        status = not_empty(model, data, split);
    if (status == MU_OK)
        *out = opened;
    else
        mu_eval_close(&opened);
    return status;
}

void mu_eval_close(mu_eval_data_t *data)
{
    mu_pack_close(data->pack);
    mu_dataset_close(data->set);
    *data = (mu_eval_data_t){0};
}

int64_t mu_eval_sequences(const mu_eval_data_t *data)
{
    return data->pack ? mu_pack_samples(data->pack)
                      : mu_dataset_sequences(data->set, data->split, data->seq_length);
}

mu_status_t mu_eval_sequence(const mu_eval_data_t *data, int64_t k, int32_t *tokens)
{
    return data->pack ? mu_pack_sample(data->pack, k, tokens)
                      : mu_dataset_sequence(data->set, data->split, data->seq_length, k, tokens);
}

mu_status_t mu_eval_labelled(const mu_inference_model_t *model, const char *path, const char *delimiter,
                             mu_labelled_t *out)
{
    mu_labelled_t labelled;
    if (!model->tokenizer)
        return mu_fail(MU_NOINPUT, "%s: carries no tokenizer", mu_checkpoint_path(model->checkpoint));
    MU_TRY(mu_labelled_read(path, delimiter, &labelled));
    mu_status_t status = mu_labelled_encode(&labelled, model->tokenizer, model->config->model.max_positions);
    if (status == MU_OK)
        *out = labelled;
    else
        mu_labelled_release(&labelled);
    return status;
}
