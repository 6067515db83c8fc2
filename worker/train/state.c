#include "worker/train/state.h"
#include "common/buf.h"
#include "common/log.h"

static int64_t largest_param(mu_net_t *net)
{
    int64_t largest = 0;
    for (int i = 0; i < mu_net_param_count(net); i++)
        if (mu_net_param(net, i)->elements > largest)
            largest = mu_net_param(net, i)->elements;
    return largest;
}

/* Moments are kept of the owned elements alone. */
static void owned_part(const mu_net_param_t *param, int64_t offset[2], int64_t count[2])
{
    int64_t columns = param->count[1];
    offset[0] = param->offset[0] + param->own / columns;
    offset[1] = param->offset[1];
    count[0] = param->owned / columns;
    count[1] = columns;
}

static mu_status_t load_moment(mu_net_t *net, const mu_checkpoint_t *checkpoint, const mu_net_param_t *param,
                               mu_state_t state, float *to, float *host)
{
    mu_device_t *device = mu_net_device(net);
    int64_t offset[2], count[2];
    owned_part(param, offset, count);
    if (param->owned == 0)
        return MU_OK;
    MU_TRY(mu_checkpoint_read(checkpoint, param->tensor.name, state, offset, count, host));
    device->ops->put(device, to, host, param->owned * (int64_t)sizeof *host);
    return MU_OK;
}

/* While one parameter is taken, the volume reads the next. */
static void expect_param(mu_net_t *net, const mu_checkpoint_t *checkpoint, int index, bool optimizer)
{
    if (index >= mu_net_param_count(net))
        return;
    const mu_net_param_t *param = mu_net_param(net, index);
    int64_t offset[2], count[2];
    mu_checkpoint_expect(checkpoint, param->tensor.name, MU_STATE_WEIGHT, param->offset, param->count);
    owned_part(param, offset, count);
    for (int state = MU_STATE_EXP_AVG; optimizer && state < MU_STATE_COUNT; state++)
        mu_checkpoint_expect(checkpoint, param->tensor.name, (mu_state_t)state, offset, count);
}

static mu_status_t load_param(mu_net_t *net, const mu_checkpoint_t *checkpoint, int index, bool optimizer,
                              float *host)
{
    const mu_net_param_t *param = mu_net_param(net, index);
    expect_param(net, checkpoint, index + 1, optimizer);
    MU_TRY(mu_checkpoint_read(checkpoint, param->tensor.name, MU_STATE_WEIGHT, param->offset, param->count,
                              host));
    mu_net_put_weight(net, index, 0, param->elements, host);
    if (!optimizer)
        return MU_OK;
    MU_TRY(load_moment(net, checkpoint, param, MU_STATE_EXP_AVG, param->m, host));
    return load_moment(net, checkpoint, param, MU_STATE_EXP_AVG_SQ, param->v, host);
}

mu_status_t mu_state_load(mu_net_t *net, const mu_checkpoint_t *checkpoint, bool optimizer)
{
    MU_TRY(mu_checkpoint_match(checkpoint, mu_net_model(net)));
    if (optimizer && !mu_checkpoint_manifest(checkpoint)->optimizer)
        return mu_fail(
            MU_DATA, "%s: holds no optimizer state: set finetune or no_load_optim to take the weights alone",
            mu_checkpoint_path(checkpoint));
    float *host = mu_alloc((size_t)largest_param(net) * sizeof *host);
    mu_status_t status = MU_OK;
    for (int i = 0; status == MU_OK && i < mu_net_param_count(net); i++)
        status = load_param(net, checkpoint, i, optimizer, host);
    free(host);
    return status;
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

mu_status_t mu_state_read(void *arg, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    mu_net_t *net = arg;
    mu_device_t *device = mu_net_device(net);
    const mu_net_param_t *param = mu_net_param(net, slice->tensor);
    /* whole rows of the local slice: one run of memory, within what is owned (common/checkpoint/slices.h) */
    int64_t local = (slice->offset[0] - param->offset[0]) * param->count[1] + first;
    int64_t at = local - param->own;
    const float *from = slice->state == MU_STATE_EXP_AVG      ? param->m + at
                        : slice->state == MU_STATE_EXP_AVG_SQ ? param->v + at
                        : param->master                       ? param->master + at
                                                              : (const float *)param->weight.data + local;
    return device->ops->get(device, out, from, n * (int64_t)sizeof(float));
}
