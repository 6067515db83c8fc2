/*
 * dump CKPT TOKENS ROWS OUT [recompute] [bf16]: what a checkpoint's network computes, as raw numbers for a comparison
 * elsewhere. Under mpirun the ranks are one tp group.
 *
 * TOKENS is int32 [ROWS][n + 1]: inputs, and labels one further. OUT becomes a directory of float files:
 * `logits` [ROWS][n][vocabulary]; `gradients`, of the mean loss, every tensor in the model's order, ours in
 * shape (of rank R above 0 `gradients-R`: its slices); and `loss`, a double. With bf16 weights are rounded to it.
 */
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/comm/comm_mpi.h"
#include "worker/infer/inference_model.h"

#include <math.h>

typedef struct job {
    const char *tokens_path, *out;
    bool recompute, bf16;
    int rank;
    mu_comm_t *tp;
    int32_t *tokens;
    int64_t rows, n; /* n: inputs of a row */
    mu_inference_model_t model;
    mu_net_t *net; /* one that trains; model.net does not */
} job_t;

static mu_status_t read_tokens(job_t *j)
{
    mu_buf_t bytes = MU_BUF_INIT;
    MU_TRY(mu_file_read(j->tokens_path, 64 << 20, &bytes));
    int64_t count = (int64_t)(bytes.len / sizeof(int32_t));
    j->n = count / j->rows - 1;
    j->tokens = (int32_t *)(void *)mu_buf_detach(&bytes);
    if (j->n < 1 || count != j->rows * (j->n + 1))
        return mu_fail(MU_DATA, "%s: %lld tokens are no %lld rows of 2 or more", j->tokens_path,
                       (long long)count, (long long)j->rows);
    return MU_OK;
}

static mu_status_t write_floats(const job_t *j, const char *name, const void *data, size_t bytes)
{
    char *path = j->rank == 0                     ? mu_path_join(j->out, name)
                 : strcmp(name, "gradients") == 0 ? mu_format("%s/%s-%d", j->out, name, j->rank)
                                                  : NULL;
    if (!path)
        return MU_OK; /* the same on every rank */
    mu_status_t status = mu_file_replace(path, data, bytes, 0644);
    free(path);
    return status;
}

static mu_status_t dump_logits(job_t *j)
{
    int64_t vocab = mu_net_model(j->net)->vocab;
    size_t bytes = (size_t)(j->rows * j->n * vocab) * sizeof(float);
    float *logits = mu_alloc(bytes);
    int32_t *inputs = mu_alloc((size_t)(j->rows * j->n) * sizeof *inputs);
    for (int64_t r = 0; r < j->rows; r++)
        memcpy(inputs + r * j->n, j->tokens + r * (j->n + 1), (size_t)j->n * sizeof *inputs);
    mu_status_t status = mu_net_logits(j->net, inputs, logits);
    if (status == MU_OK)
        status = write_floats(j, "logits", logits, bytes);
    free(inputs);
    free(logits);
    return status;
}

static mu_status_t dump_gradients(job_t *j)
{
    mu_buf_t all = MU_BUF_INIT;
    mu_net_loss_t loss;
    mu_device_t *device = mu_net_device(j->net);
    mu_status_t status;
    mu_net_zero_gradients(j->net);
    MU_TRY(mu_net_forward_backward(j->net, j->tokens, 1.0));
    MU_TRY(mu_net_take_loss(j->net, &loss));
    MU_TRY(write_floats(j, "loss", &loss.mean_sum, sizeof loss.mean_sum));
    status = MU_OK;
    for (int i = 0; status == MU_OK && i < mu_net_param_count(j->net); i++) {
        const mu_net_param_t *p = mu_net_param(j->net, i);
        size_t bytes = (size_t)p->elements * sizeof(float);
        mu_buf_reserve(&all, bytes);
        status = device->ops->get(device, all.data + all.len, p->gradient, (int64_t)bytes);
        all.len += bytes;
    }
    if (status == MU_OK)
        status = write_floats(j, "gradients", all.data, all.len);
    mu_buf_release(&all);
    return status;
}

static mu_status_t run(job_t *j, const char *checkpoint)
{
    static char *const cpu[] = {"muster.device=cpu", "muster.threads_per_worker=1"};
    MU_TRY(read_tokens(j));
    MU_TRY(mu_make_dirs(j->out, 0755));
    MU_TRY(mu_inference_model_open(checkpoint, cpu, 2, j->rows, &j->model));
    mu_net_options_t options = {.micro_batch = j->rows,
                                .seq_length = j->n,
                                .training = true,
                                .dtype = j->bf16 ? MU_DTYPE_BF16 : MU_DTYPE_F32,
                                .checkpoint_activations = j->recompute,
                                .eod = -1};
    MU_TRY(mu_net_new(j->model.context.device, &j->model.config->model, j->tp, &options, &j->net));
    MU_TRY(mu_state_load(j->net, j->model.checkpoint, false));
    MU_TRY(dump_logits(j));
    return dump_gradients(j);
}

int main(int argc, char **argv)
{
    job_t j = {0};
    mu_status_t status;
    bool good = argc >= 5 && mu_parse_i64(argv[3], &j.rows) && j.rows >= 1;
    mu_log_tag("dump");
    for (int i = 5; i < argc; i++) {
        bool recompute = strcmp(argv[i], "recompute") == 0, bf16 = strcmp(argv[i], "bf16") == 0;
        j.recompute |= recompute;
        j.bf16 |= bf16;
        good &= recompute || bf16;
    }
    if (!good) {
        status = mu_fail(MU_USAGE, "usage: dump CKPT TOKENS ROWS OUT [recompute] [bf16]");
        return mu_status_exit(status);
    }
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &j.rank);
    MPI_Comm group;
    MPI_Comm_dup(MPI_COMM_WORLD, &group);
    j.tp = mu_comm_mpi(group, "tp", NULL);
    j.tokens_path = argv[2];
    j.out = argv[4];
    status = run(&j, argv[1]);
    mu_net_free(j.net);
    mu_inference_model_close(&j.model);
    mu_comm_free(j.tp);
    MPI_Finalize();
    free(j.tokens);
    return mu_status_exit(status);
}
