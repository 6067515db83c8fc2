#include "worker/train/state.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"

static int64_t largest_param(mu_net_t *net)
{
    int64_t largest = 0;
    for (int i = 0; i < mu_net_param_count(net); i++)
        if (mu_net_param(net, i)->elements > largest)
            largest = mu_net_param(net, i)->elements;
    return largest;
}

/* A part of a parameter's slice: rows from .. to - 1 of it. The model's own tensor has them in one run, or in a few
 * (mu_net_tensor_row()). */
typedef struct part {
    const mu_net_param_t *param;
    int64_t from, to;
} part_t;

static part_t whole_part(const mu_net_param_t *param)
{
    return (part_t){param, 0, param->count[0]};
}

/* Moments are kept of the owned elements alone. */
static part_t owned_part(const mu_net_param_t *param)
{
    int64_t first = param->own / param->count[1];
    return (part_t){param, first, first + param->owned / param->count[1]};
}

/* The run that begins at row `row`. */
static void run_at(const mu_net_t *net, const part_t *part, int64_t row, int64_t offset[2], int64_t count[2])
{
    int64_t rows;
    offset[0] = mu_net_tensor_row(net, part->param, row, &rows);
    offset[1] = part->param->offset[1];
    count[0] = mu_min_i64(rows, part->to - row);
    count[1] = part->param->count[1];
}

static mu_status_t read_part(const mu_net_t *net, const mu_checkpoint_t *checkpoint, part_t part,
                             mu_state_t state, float *host)
{
    int64_t offset[2], count[2];
    for (int64_t row = part.from; row < part.to; row += count[0]) {
        float *to = host + (row - part.from) * part.param->count[1];
        run_at(net, &part, row, offset, count);
        MU_TRY(mu_checkpoint_read(checkpoint, part.param->tensor.name, state, offset, count, to));
    }
    return MU_OK;
}

static void expect_part(const mu_net_t *net, const mu_checkpoint_t *checkpoint, part_t part, mu_state_t state)
{
    int64_t offset[2], count[2];
    for (int64_t row = part.from; row < part.to; row += count[0]) {
        run_at(net, &part, row, offset, count);
        mu_checkpoint_expect(checkpoint, part.param->tensor.name, state, offset, count);
    }
}

static mu_status_t load_moment(mu_net_t *net, const mu_checkpoint_t *checkpoint, const mu_net_param_t *param,
                               mu_state_t state, float *to, float *host)
{
    mu_device_t *device = mu_net_device(net);
    if (param->owned == 0)
        return MU_OK;
    MU_TRY(read_part(net, checkpoint, owned_part(param), state, host));
    device->ops->put(device, to, host, param->owned * (int64_t)sizeof *host);
    return MU_OK;
}

/* While one parameter is taken, the volume reads the next. */
static void expect_param(mu_net_t *net, const mu_checkpoint_t *checkpoint, int index, bool optimizer)
{
    if (index >= mu_net_param_count(net))
        return;
    const mu_net_param_t *param = mu_net_param(net, index);
    expect_part(net, checkpoint, whole_part(param), MU_STATE_WEIGHT);
    for (int state = MU_STATE_EXP_AVG; optimizer && state < MU_STATE_COUNT; state++)
        expect_part(net, checkpoint, owned_part(param), (mu_state_t)state);
}

static mu_status_t load_param(mu_net_t *net, const mu_checkpoint_t *checkpoint, int index, bool optimizer,
                              float *host)
{
    const mu_net_param_t *param = mu_net_param(net, index);
    expect_param(net, checkpoint, index + 1, optimizer);
    MU_TRY(read_part(net, checkpoint, whole_part(param), MU_STATE_WEIGHT, host));
    mu_net_put_weight(net, index, 0, param->elements, host);
    if (!optimizer)
        return MU_OK;
    MU_TRY(load_moment(net, checkpoint, param, MU_STATE_EXP_AVG, param->m, host));
    return load_moment(net, checkpoint, param, MU_STATE_EXP_AVG_SQ, param->v, host);
}

static mu_status_t load_params(mu_net_t *net, const mu_checkpoint_t *checkpoint, int from, int to,
                               bool optimizer)
{
    float *host = mu_alloc((size_t)largest_param(net) * sizeof *host);
    mu_status_t status = MU_OK;
    for (int i = from; status == MU_OK && i < to; i++)
        status = load_param(net, checkpoint, i, optimizer, host);
    free(host);
    return status;
}

mu_status_t mu_state_load(mu_net_t *net, const mu_checkpoint_t *checkpoint, bool optimizer)
{
    MU_TRY(mu_checkpoint_match(checkpoint, mu_net_model(net)));
    if (optimizer && !mu_checkpoint_manifest(checkpoint)->optimizer)
        return mu_fail(
            MU_DATA, "%s: holds no optimizer state: set finetune or no_load_optim to take the weights alone",
            mu_checkpoint_path(checkpoint));
    return load_params(net, checkpoint, mu_model_saved_first(mu_net_model(net)), mu_net_param_count(net),
                       optimizer);
}

mu_status_t mu_state_load_base(mu_net_t *net, const mu_checkpoint_t *base)
{
    mu_model_t model = mu_model_base(mu_net_model(net));
    MU_TRY(mu_checkpoint_match(base, &model));
    return load_params(net, base, 0, mu_model_saved_first(mu_net_model(net)), false);
}

typedef struct old_rows {
    const mu_checkpoint_t *checkpoint;
    const mu_net_param_t *param;
} old_rows_t;

static mu_status_t read_old_rows(void *arg, int64_t first, int64_t n, float *out)
{
    const old_rows_t *old = arg;
    int64_t offset[2] = {first, 0}, count[2] = {n, old->param->tensor.shape[1]};
    return mu_checkpoint_read(old->checkpoint, old->param->tensor.name, MU_STATE_WEIGHT, offset, count, out);
}

mu_status_t mu_state_load_resized(mu_net_t *net, const mu_checkpoint_t *checkpoint, const mu_resize_t *growth)
{
    mu_model_t was = *mu_net_model(net);
    mu_status_t status = MU_OK;
    was.vocab = growth->rows;
    MU_TRY(mu_checkpoint_match(checkpoint, &was));
    float *host = mu_alloc((size_t)largest_param(net) * sizeof *host);
    for (int i = 0; status == MU_OK && i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        old_rows_t old = {checkpoint, p};
        if (p->tensor.kind != MU_T_EMBED_IN && p->tensor.kind != MU_T_EMBED_OUT) {
            status = load_param(net, checkpoint, i, false, host);
            continue;
        }
        status = mu_resize_read(growth, p->count[1], read_old_rows, &old, p->offset[0], p->count[0], host);
        if (status == MU_OK)
            mu_net_put_weight(net, i, 0, p->elements, host);
    }
    free(host);
    return status;
}

static const float *values_at(mu_net_t *net, const mu_slice_t *slice, int64_t first)
{
    const mu_net_param_t *param = mu_net_param(net, mu_model_saved_first(mu_net_model(net)) + slice->tensor);
    /* whole rows of the local slice: one run of memory, within what is owned (common/checkpoint/slices.h) */
    int64_t rows,
        local = (slice->offset[0] - mu_net_tensor_row(net, param, 0, &rows)) * param->count[1] + first;
    int64_t at = local - param->own;
    return slice->state == MU_STATE_EXP_AVG      ? param->m + at
           : slice->state == MU_STATE_EXP_AVG_SQ ? param->v + at
           : param->master                       ? param->master + at
                                                 : (const float *)param->weight.data + local;
}

mu_status_t mu_state_read(void *net, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    mu_device_t *device = mu_net_device(net);
    return device->ops->get(device, out, values_at(net, slice, first), n * (int64_t)sizeof(float));
}

mu_status_t mu_state_read_beside(void *net, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    mu_device_t *device = mu_net_device(net);
    return device->ops->get_beside(device, out, values_at(net, slice, first), n * (int64_t)sizeof(float));
}
