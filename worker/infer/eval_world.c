/* Evaluation by many: blocks of sequences go round robin to the leaders, two on the way to each. */
#include "common/file.h"
#include "common/num.h"
#include "worker/infer/inference_result.h"
#include "worker/train/train_protocol.h"
#include "worker/infer/eval_record.h"
#include "worker/infer/evaluation.h"
#include "worker/comm/yielding_wait.h"

enum { AHEAD = 2 };

/* ---- the controller ---- */

typedef struct lane {
    int32_t *tokens;
    MPI_Request request;
} lane_t;

/* Synchronous sends: a small block would else be buffered by MPI, and with it the whole split. */
static mu_status_t divide(mu_run_t *run, const mu_inference_model_t *model, const mu_eval_data_t *data,
                          lane_t *lanes)
{
    const mu_layout_t *layout = &run->groups->layout;
    int64_t s = model->config->model.seq_length, n = mu_eval_sequences(data);
    int64_t blocks = (n + MU_EVAL_ROWS - 1) / MU_EVAL_ROWS;
    mu_metric_values_t shown = MU_METRIC_VALUES_FIRST;
    shown.eval_total = n;
    for (int64_t b = 0; b < blocks + layout->dp; b++) { /* the last ones are empty: the end */
        int leader = (int)(b % layout->dp);
        lane_t *lane = &lanes[b / layout->dp % AHEAD * layout->dp + leader];
        int64_t first = b * MU_EVAL_ROWS, rows = mu_max_i64(0, mu_min_i64(MU_EVAL_ROWS, n - first));
        MU_TRY(mu_yielding_wait(&lane->request, "waiting for a worker to take tokens"));
        for (int64_t r = 0; r < rows; r++)
            MU_TRY(mu_eval_sequence(data, first + r, lane->tokens + r * (s + 1)));
        MU_TRY(mu_mpi_check(MPI_Issend(lane->tokens, (int)(rows * (s + 1)), MPI_INT32_T,
                                       mu_layout_leader(layout, leader), MU_TAG_TOKENS, run->groups->control,
                                       &lane->request),
                            "MPI_Issend of tokens"));
        shown.eval_rows += rows;
        mu_page_metrics(run->page, &shown);
    }
    for (int i = 0; i < AHEAD * layout->dp; i++)
        MU_TRY(mu_yielding_wait(&lanes[i].request, "waiting for a worker to take its last tokens"));
    return MU_OK;
}

/* What a leader found of its part. */
typedef struct part {
    mu_net_loss_t sum;
    mu_accuracy_t accuracy;
} part_t;

static mu_status_t collect(mu_run_t *run, mu_measured_t *out)
{
    for (int r = 0; r < run->groups->layout.dp; r++) {
        part_t part;
        MPI_Request request;
        MU_TRY(mu_mpi_check(MPI_Irecv(&part, sizeof part, MPI_BYTE, mu_layout_leader(&run->groups->layout, r),
                                      MU_TAG_REPORT, run->groups->control, &request),
                            "MPI_Irecv of a loss"));
        MU_TRY(mu_yielding_wait(&request, "waiting for a worker's loss"));
        out->sum.token_sum += part.sum.token_sum;
        out->sum.tokens += part.sum.tokens;
        mu_accuracy_add(&out->accuracy, &part.accuracy);
    }
    return MU_OK;
}

static mu_status_t write_result(const mu_run_t *run, const mu_inference_model_t *model,
                                const mu_measured_t *measured)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_eval_result(model, measured, run->eval_json, &text);
    mu_status_t status = mu_inference_result_write(run, &text);
    if (status == MU_OK && run->eval_gated) {
        char *path = mu_path_join(run->dir, "result.json");
        mu_buf_clear(&text);
        mu_eval_result(model, measured, true, &text);
        status = mu_file_replace(path, text.data, text.len, 0600);
        free(path);
    }
    mu_buf_release(&text);
    if (status == MU_OK)
        mu_eval_keep(model, measured);
    /* a gate's verdict, which the launcher gives, comes before this one */
    return status == MU_OK && !run->eval_gated ? mu_eval_finite(model, measured) : status;
}

static mu_status_t deal_all(mu_run_t *run, const mu_inference_model_t *model, const mu_eval_data_t *data)
{
    int lanes = AHEAD * run->groups->layout.dp;
    lane_t *lane = mu_calloc((size_t)lanes, sizeof *lane);
    for (int i = 0; i < lanes; i++) {
        lane[i].request = MPI_REQUEST_NULL;
        lane[i].tokens =
            mu_alloc((size_t)(MU_EVAL_ROWS * (model->config->model.seq_length + 1)) * sizeof(int32_t));
    }
    mu_status_t status = divide(run, model, data, lane);
    for (int i = 0; status == MU_OK && i < lanes; i++) /* else the world ends, and a send may go on */
        free(lane[i].tokens);
    if (status == MU_OK)
        free(lane);
    return status;
}

static mu_status_t control(mu_run_t *run, const mu_inference_model_t *model)
{
    mu_eval_data_t data = {0};
    mu_labelled_t labelled = {0};
    mu_measured_t measured = {.split = run->eval_split};
    const char *path = run->config->data_path;
    mu_status_t status = MU_OK;
    if (path)
        MU_TRY_GOTO(status, mu_eval_open(model, path, run->config->split, run->eval_split, &data), out);
    if (run->eval_labelled)
        MU_TRY_GOTO(status, mu_eval_labelled(model, run->eval_labelled, run->eval_delimiter, &labelled), out);
    MU_TRY_GOTO(status, mu_inference_result_receive(run), out);
    mu_page_phase(run->page, MU_PHASE_EVAL);
    if (data.set)
        MU_TRY_GOTO(status, deal_all(run, model, &data), out);
    MU_TRY_GOTO(status, collect(run, &measured), out);
    measured.data = data.set;
    measured.labelled = run->eval_labelled ? &labelled : NULL;
    status = write_result(run, model, &measured);
out:
    mu_labelled_release(&labelled);
    mu_eval_close(&data);
    return status;
}

/* ---- a worker ---- */

/* The leader takes a block and shares it with its replica; rows 0: there are no more. */
static mu_status_t take(mu_groups_t *g, int64_t stride, int32_t *tokens, int64_t *rows)
{
    if (g->leader) {
        MPI_Status from;
        int n = 0;
        MU_TRY(mu_mpi_check(
            MPI_Recv(tokens, (int)(MU_EVAL_ROWS * stride), MPI_INT32_T, 0, MU_TAG_TOKENS, g->control, &from),
            "MPI_Recv of tokens"));
        MPI_Get_count(&from, MPI_INT32_T, &n);
        *rows = n / stride;
    }
    MU_TRY(mu_comm_broadcast(g->tp, 0, rows, sizeof *rows));
    return *rows == 0 ? MU_OK : mu_comm_broadcast(g->tp, 0, tokens, *rows * stride * (int64_t)sizeof *tokens);
}

/* While the device computes a block the next one is taken; it is never further ahead than that, so that
 * progress is the device's. */
static mu_status_t sum_losses(mu_run_t *run, mu_inference_model_t *model, mu_net_loss_t *out)
{
    int64_t stride = model->config->model.seq_length + 1, rows = 0;
    int32_t *tokens = mu_alloc((size_t)(MU_EVAL_ROWS * stride) * sizeof *tokens);
    mu_status_t status;
    do {
        MU_TRY_GOTO(status, take(run->groups, stride, tokens, &rows), out);
        MU_TRY_GOTO(status, mu_device_context_wait(&model->context), out);
        if (rows > 0)
            MU_TRY_GOTO(status, mu_net_forward_loss(model->net, tokens, rows), out);
        mu_page_progress(run->page);
    } while (rows > 0);
    status = mu_net_take_loss(model->net, out);
out:
    free(tokens);
    return status;
}

static void tick(void *run)
{
    mu_page_progress(((mu_run_t *)run)->page);
}

/* Every worker reads the file itself; the replicas divide the examples. */
static mu_status_t score(mu_run_t *run, mu_inference_model_t *model, mu_accuracy_t *out)
{
    const mu_layout_t *layout = &run->groups->layout;
    mu_labelled_t labelled;
    MU_TRY(mu_eval_labelled(model, run->eval_labelled, run->eval_delimiter, &labelled));
    mu_status_t status =
        mu_likelihood_score(&labelled, model->net, layout->dp_rank, layout->dp, tick, run, out);
    mu_labelled_release(&labelled);
    return status;
}

static mu_status_t work(mu_run_t *run, mu_inference_model_t *model)
{
    mu_groups_t *g = run->groups;
    part_t part = {.accuracy.examples = 0};
    MU_TRY(mu_inference_result_load(run, model, MU_EVAL_ROWS));
    mu_page_phase(run->page, MU_PHASE_EVAL);
    if (run->config->data_path)
        MU_TRY(sum_losses(run, model, &part.sum));
    if (run->eval_labelled)
        MU_TRY(score(run, model, &part.accuracy));
    return g->leader ? mu_mpi_check(MPI_Send(&part, sizeof part, MPI_BYTE, 0, MU_TAG_REPORT, g->control),
                                    "MPI_Send of what was measured")
                     : MU_OK;
}

mu_status_t mu_eval_rank(mu_run_t *run)
{
    mu_inference_model_t model;
    mu_page_phase(run->page, MU_PHASE_SETUP);
    MU_TRY(mu_inference_model_describe_run(run, &model));
    mu_status_t status = run->groups->controller ? control(run, &model)
                         : run->groups->idle     ? MU_OK
                                                 : work(run, &model);
    return mu_inference_model_leave(&model, run, status);
}
