/* Generation by many: the first replica computes, its leader sends each token to the controller. */
#include "common/log.h"
#include "worker/infer/inference_result.h"
#include "worker/train/train_protocol.h"
#include "worker/infer/generation.h"
#include "worker/infer/stop.h"
#include "worker/comm/yielding_wait.h"

static const int32_t end_of_text = -1;

/* ---- the controller ---- */

static mu_status_t next_token(mu_run_t *run, int32_t *id)
{
    MPI_Request request;
    int leader = mu_layout_leader(&run->groups->layout, 0);
    MU_TRY(mu_mpi_check(MPI_Irecv(id, 1, MPI_INT32_T, leader, MU_TAG_TOKENS, run->groups->control, &request),
                        "MPI_Irecv of a token"));
    MU_TRY(mu_yielding_wait(&request, "waiting for a token"));
    mu_page_progress(run->page);
    return MU_OK;
}

static mu_status_t control(mu_run_t *run, const mu_inference_model_t *model)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_decoder_t *decoder = mu_decoder_new(model->tokenizer, run->generate->prompt[0] != '\0');
    mu_status_t status;
    int32_t id;
    bool hit;
    mu_buf_reserve(&text, 0);
    MU_TRY_GOTO(status, mu_inference_result_receive(run), out);
    mu_page_phase(run->page, MU_PHASE_EVAL);
    for (;;) {
        MU_TRY_GOTO(status, next_token(run, &id), out);
        if (id == end_of_text)
            break;
        MU_TRY_GOTO(status, mu_decoder_add(decoder, &id, 1, &text), out);
    }
    mu_decoder_end(decoder, &text);
    mu_buf_t all = MU_BUF_INIT;
    if (!run->generate->chat)
        mu_buf_adds(&all, run->generate->prompt);
    mu_buf_add(&all, text.data, mu_stop_visible(&run->generate->stops, text.data, text.len, true, &hit));
    mu_buf_addc(&all, '\n');
    status = mu_inference_result_write(run, &all);
    mu_buf_release(&all);
out:
    mu_decoder_free(decoder);
    mu_buf_release(&text);
    return status;
}

/* ---- a worker ---- */

static mu_status_t tell(void *arg, int32_t id)
{
    mu_run_t *run = arg;
    mu_page_phase(run->page, MU_PHASE_EVAL); /* the prompt is done */
    mu_page_progress(run->page);
    if (!run->groups->leader)
        return MU_OK;
    return mu_mpi_check(MPI_Send(&id, 1, MPI_INT32_T, 0, MU_TAG_TOKENS, run->groups->control),
                        "MPI_Send of a token");
}

static mu_status_t work(mu_run_t *run, mu_inference_model_t *model, mu_generation_t *g)
{
    MU_TRY(mu_inference_result_load(run, model, 1));
    if (run->groups->layout.dp_rank > 0)
        return MU_OK;
    mu_page_phase(run->page, MU_PHASE_FIRST_STEP);
    MU_TRY(mu_generation_run(g, model->net, run->groups->tp, tell, run));
    return tell(run, end_of_text);
}

mu_status_t mu_generate_rank(mu_run_t *run)
{
    mu_inference_model_t model;
    mu_generation_t g = {.prompt = MU_IDS_INIT};
    mu_page_phase(run->page, MU_PHASE_SETUP);
    MU_TRY(mu_inference_model_describe_run(run, &model));
    mu_status_t status = mu_generation_begin(&model, run->config, run->generate, &g);
    if (status == MU_OK)
        status = run->groups->controller ? control(run, &model)
                 : run->groups->idle     ? MU_OK
                                         : work(run, &model, &g);
    mu_generation_end(&g);
    return mu_inference_model_leave(&model, run, status);
}
