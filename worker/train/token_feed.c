#include "worker/train/token_feed.h"
#include "common/buf.h"
#include "common/token_marks.h"
#include "worker/comm/comm_mpi.h"
#include "worker/comm/layout.h"
#include "worker/train/schedule.h"

typedef struct share {
    int32_t *tokens;
    MPI_Request request;
} share_t;

struct mu_token_feed {
    const mu_config_t *config;
    MPI_Comm control;
    int32_t eod;
    mu_layout_t layout;
    mu_read_sample_t read;
    void *arg;
    int64_t done, first_sample; /* where the run started here */
    int64_t ahead;              /* batches on the way to a leader, at most */
    int64_t share_ids;          /* int32 of one replica's share of a batch */
    /* the next batch to send */
    int64_t step;                 /* training batch of this update ... */
    int64_t eval_left, eval_next; /* ... or one of an evaluation after step - 1 */
    int64_t sent;
    int64_t *took;   /* [dp] */
    share_t *shares; /* [ahead][dp], used round robin */
};

mu_token_feed_t *mu_token_feed_new(const mu_config_t *config, MPI_Comm control, int32_t eod, int64_t done,
                                   int64_t first_sample, mu_read_sample_t read, void *arg)
{
    mu_token_feed_t *d = mu_calloc(1, sizeof *d);
    d->config = config;
    d->control = control;
    d->eod = eod;
    d->layout = (mu_layout_t){config->tp, config->dp, -1, -1};
    d->read = read;
    d->arg = arg;
    d->done = done;
    d->first_sample = first_sample;
    d->step = done + 1;
    d->ahead = mu_max_i64(1, config->muster.lookahead);
    d->share_ids = mu_share_ids(config);
    d->took = mu_calloc((size_t)config->dp, sizeof *d->took);
    size_t n = (size_t)(d->ahead * config->dp);
    d->shares = mu_calloc(n, sizeof *d->shares);
    for (size_t i = 0; i < n; i++) {
        d->shares[i].tokens = mu_alloc((size_t)d->share_ids * sizeof(int32_t));
        d->shares[i].request = MPI_REQUEST_NULL;
    }
    return d;
}

void mu_token_feed_free(mu_token_feed_t *d)
{
    if (!d)
        return;
    for (int64_t i = 0; i < d->ahead * d->layout.dp; i++) {
        MPI_Wait(&d->shares[i].request, MPI_STATUS_IGNORE);
        free(d->shares[i].tokens);
    }
    free(d->shares);
    free(d->took);
    free(d);
}

void mu_token_feed_credit(mu_token_feed_t *d, int dp_rank, int64_t count)
{
    d->took[dp_rank] = count;
}

int64_t mu_token_feed_taken(const mu_token_feed_t *d)
{
    return d->took[0];
}

int64_t mu_token_feed_sent(const mu_token_feed_t *d)
{
    return d->sent;
}

/* Whether the next batch may go: there is one, every leader has credit, and its buffers are free. */
static mu_status_t may_send(mu_token_feed_t *d, bool *may)
{
    *may = false;
    if (d->eval_left == 0 && d->step > d->config->train_iters)
        return MU_OK;
    for (int r = 0; r < d->layout.dp; r++) {
        if (d->sent - d->took[r] >= d->ahead)
            return MU_OK;
        int arrived = 0;
        share_t *share = &d->shares[(d->sent % d->ahead) * d->layout.dp + r];
        MU_TRY(mu_mpi_check(MPI_Test(&share->request, &arrived, MPI_STATUS_IGNORE), "MPI_Test"));
        if (!arrived)
            return MU_OK;
    }
    *may = true;
    return MU_OK;
}

/* Adds the tokens that count to *counted. */
static mu_status_t read_share(mu_token_feed_t *d, bool validation, int64_t first, int r, int32_t *out,
                              int64_t *counted)
{
    const mu_config_t *c = d->config;
    for (int64_t g = 0; g < c->accumulation; g++) {
        for (int64_t i = 0; i < c->micro_batch; i++) {
            int64_t sample = first + (g * c->dp + r) * c->micro_batch + i;
            MU_TRY(d->read(d->arg, validation, sample, out));
            *counted += mu_tokens_counted(out, c->model.seq_length + 1, d->eod);
            out += c->model.seq_length + 1;
        }
    }
    return MU_OK;
}

static mu_status_t send_next(mu_token_feed_t *d)
{
    bool validation = d->eval_left > 0;
    int64_t T = d->config->train_batch_size;
    int64_t first = validation ? d->eval_next * T : d->first_sample + (d->step - 1 - d->done) * T;
    share_t *shares = &d->shares[(d->sent % d->ahead) * d->layout.dp];
    int64_t counted = 0;
    for (int r = 0; r < d->layout.dp; r++)
        MU_TRY(read_share(d, validation, first, r, shares[r].tokens, &counted));
    for (int r = 0; r < d->layout.dp; r++) {
        share_t *share = &shares[r];
        memcpy(share->tokens + d->share_ids - MU_SHARE_TAIL, &counted, sizeof counted);
        MU_TRY(mu_mpi_check(MPI_Isend(share->tokens, (int)d->share_ids, MPI_INT32_T,
                                      mu_layout_leader(&d->layout, r), MU_TAG_TOKENS, d->control,
                                      &share->request),
                            "MPI_Isend of tokens"));
    }
    d->sent++;
    if (validation) {
        d->eval_left--;
        d->eval_next++;
        return MU_OK;
    }
    if (mu_schedule_eval(d->config, d->step)) {
        d->eval_left = d->config->eval_iters;
        d->eval_next = mu_schedule_eval_batch(d->config, d->step);
    }
    d->step++;
    return MU_OK;
}

mu_status_t mu_token_feed_work(mu_token_feed_t *d, bool *moved)
{
    *moved = false;
    for (;;) {
        bool may;
        MU_TRY(may_send(d, &may));
        if (!may)
            return MU_OK;
        MU_TRY(send_next(d));
        *moved = true;
    }
}
