/* The engine by many ranks: the controller has the socket and the schedule, the workers of the first replica
 * compute. */
#include "common/clock.h"
#include "common/log.h"
#include "worker/comm/yielding_wait.h"
#include "worker/infer/inference_result.h"
#include "worker/serve/engine.h"
#include "worker/serve/stepper.h"
#include "worker/train/train_protocol.h"

/* A plan as one message: this, then pieces, tokens and next. Ranks are one program, so bytes are as they lie. */
typedef struct wire {
    int64_t pieces, rows, wanted; /* pieces 0: the end */
} wire_t;

/* ---- the controller ---- */

typedef struct remote {
    mu_run_t *run;
    mu_buf_t plan;
} remote_t;

static mu_status_t send_to_workers(mu_run_t *run, const mu_buf_t *bytes)
{
    int leader = mu_layout_leader(&run->groups->layout, 0);
    for (int i = 0; i < run->groups->layout.tp; i++) {
        MPI_Request request;
        MU_TRY(mu_mpi_check(MPI_Isend(bytes->data, (int)bytes->len, MPI_BYTE, leader + i, MU_TAG_TOKENS,
                                      run->groups->control, &request),
                            "MPI_Isend of a plan"));
        MU_TRY(mu_yielding_wait(&request, "waiting for a worker to take a plan"));
    }
    return MU_OK;
}

static mu_status_t receive(mu_run_t *run, void *to, size_t bytes, const char *what)
{
    MPI_Request request;
    int leader = mu_layout_leader(&run->groups->layout, 0);
    MU_TRY(mu_mpi_check(
        MPI_Irecv(to, (int)bytes, MPI_BYTE, leader, MU_TAG_TOKENS, run->groups->control, &request),
        "MPI_Irecv of results"));
    return mu_yielding_wait(&request, what);
}

static void pack(const mu_plan_t *plan, mu_buf_t *out)
{
    wire_t head = {plan->pieces, plan->rows, plan->wanted};
    mu_buf_clear(out);
    mu_buf_add(out, &head, sizeof head);
    mu_buf_add(out, plan->piece, (size_t)plan->pieces * sizeof *plan->piece);
    mu_buf_add(out, plan->token, (size_t)plan->rows * sizeof *plan->token);
    mu_buf_add(out, plan->next, (size_t)plan->wanted * sizeof *plan->next);
}

static mu_status_t step_there(void *arg, const mu_plan_t *plan, mu_engine_token_t *result)
{
    remote_t *remote = arg;
    mu_engine_token_t none;
    pack(plan, &remote->plan);
    MU_TRY(send_to_workers(remote->run, &remote->plan));
    MU_TRY(plan->wanted > 0
               ? receive(remote->run, result, (size_t)plan->wanted * sizeof *result, "waiting for a step")
               : receive(remote->run, &none, sizeof none, "waiting for a step"));
    mu_page_progress(remote->run->page);
    return MU_OK;
}

static void tick(void *arg)
{
    remote_t *remote = arg;
    mu_page_progress(remote->run->page);
}

static mu_status_t control(mu_run_t *run, const mu_engine_shape_t *shape)
{
    remote_t remote = {run, MU_BUF_INIT};
    wire_t end = {0};
    mu_engine_hello_t hello = {.version = MU_ENGINE_VERSION,
                               .slots = shape->schedule.slots,
                               .slot_tokens = shape->schedule.capacity,
                               .waiting = shape->schedule.waiting};
    MU_TRY(mu_inference_result_receive(run));
    MU_TRY(receive(run, &hello.cache_bytes, sizeof hello.cache_bytes, "waiting for the cache"));
    snprintf(hello.words, sizeof hello.words, "%d workers", run->groups->layout.tp);
    mu_page_phase(run->page, MU_PHASE_EVAL);
    mu_status_t status =
        mu_engine_serve(run->serve->engine, &hello, &shape->schedule, step_there, tick, &remote);
    mu_buf_clear(&remote.plan);
    mu_buf_add(&remote.plan, &end, sizeof end);
    if (status == MU_OK)
        status = send_to_workers(run, &remote.plan);
    mu_buf_release(&remote.plan);
    return status;
}

/* ---- a worker ---- */

/* Waits for the next plan as one who may wait for hours: without burning a core, and alive. */
static mu_status_t next_plan(mu_run_t *run, mu_buf_t *out)
{
    MPI_Status status;
    int there = 0, bytes = 0;
    for (int i = 0; !there; i++) {
        MU_TRY(mu_mpi_check(MPI_Iprobe(0, MU_TAG_TOKENS, run->groups->control, &there, &status),
                            "MPI_Iprobe for a plan"));
        mu_page_progress(run->page);
        if (!there && i > 100)
            mu_sleep_ms(1);
    }
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    mu_buf_clear(out);
    mu_buf_reserve(out, (size_t)bytes);
    out->len = (size_t)bytes;
    return mu_mpi_check(
        MPI_Recv(out->data, bytes, MPI_BYTE, 0, MU_TAG_TOKENS, run->groups->control, MPI_STATUS_IGNORE),
        "MPI_Recv of a plan");
}

static mu_status_t unpack(mu_buf_t *from, mu_plan_t *plan)
{
    wire_t head;
    memcpy(&head, from->data, sizeof head);
    size_t pieces = (size_t)head.pieces * sizeof *plan->piece,
           tokens = (size_t)head.rows * sizeof *plan->token;
    if (from->len != sizeof head + pieces + tokens + (size_t)head.wanted * sizeof *plan->next)
        return mu_fail(MU_BUG, "a plan of %zu bytes", from->len);
    char *at = from->data + sizeof head;
    *plan = (mu_plan_t){.piece = (mu_plan_piece_t *)(void *)at,
                        .pieces = (int)head.pieces,
                        .token = (int32_t *)(void *)(at + pieces),
                        .next = (int32_t *)(void *)(at + pieces + tokens),
                        .rows = head.rows,
                        .wanted = head.wanted};
    return MU_OK;
}

static mu_status_t send_result(mu_run_t *run, const void *bytes, size_t n)
{
    if (!run->groups->leader)
        return MU_OK;
    return mu_mpi_check(MPI_Send(bytes, (int)n, MPI_BYTE, 0, MU_TAG_TOKENS, run->groups->control),
                        "MPI_Send of results");
}

static mu_status_t compute(mu_run_t *run, mu_stepper_t *stepper)
{
    mu_buf_t bytes = MU_BUF_INIT;
    mu_engine_token_t *result = mu_calloc(1, sizeof *result);
    int64_t room = 1;
    mu_status_t status;
    for (;;) {
        mu_plan_t plan;
        MU_TRY_GOTO(status, next_plan(run, &bytes), out);
        MU_TRY_GOTO(status, unpack(&bytes, &plan), out);
        if (plan.pieces == 0)
            break;
        if (plan.wanted > room) {
            room = plan.wanted;
            result = mu_realloc(result, (size_t)room * sizeof *result);
        }
        MU_TRY_GOTO(status, mu_stepper_run(stepper, &plan, result), out);
        mu_page_progress(run->page);
        MU_TRY_GOTO(status,
                    send_result(run, result, (size_t)(plan.wanted > 0 ? plan.wanted : 1) * sizeof *result),
                    out);
    }
out:
    free(result);
    mu_buf_release(&bytes);
    return status;
}

static mu_status_t work(mu_run_t *run, mu_inference_model_t *model, const mu_engine_shape_t *shape)
{
    const mu_schedule_options_t *o = &shape->schedule;
    MU_TRY(mu_inference_result_load(run, model, shape->batch));
    if (run->groups->layout.dp_rank > 0)
        return MU_OK;
    MU_TRY(mu_net_slots(model->net, o->slots, o->capacity));
    uint64_t bytes = (uint64_t)mu_net_slots_bytes(model->net, o->slots, o->capacity);
    MU_TRY(send_result(run, &bytes, sizeof bytes));
    mu_page_phase(run->page, MU_PHASE_EVAL);
    mu_stepper_t *stepper =
        mu_stepper_new(model->net, run->groups->tp, o->slots, mu_tokenizer_vocab(model->tokenizer));
    mu_status_t status = compute(run, stepper);
    mu_stepper_free(stepper);
    return status;
}

mu_status_t mu_engine_rank(mu_run_t *run)
{
    mu_inference_model_t model;
    mu_engine_shape_t shape;
    mu_page_phase(run->page, MU_PHASE_SETUP);
    MU_TRY(mu_inference_model_describe_run(run, &model));
    mu_status_t status = mu_engine_shape(run->serve, &model, &shape);
    if (status == MU_OK)
        status = mu_inference_model_set_length(&model, shape.length);
    if (status == MU_OK)
        status = run->groups->controller ? control(run, &shape)
                 : run->groups->idle     ? MU_OK
                                         : work(run, &model, &shape);
    return mu_inference_model_leave(&model, run, status);
}
