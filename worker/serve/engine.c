#include "worker/serve/engine.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/serve/stepper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TICK_MS = 100, READ_AT_ONCE = 65536, OUT_MOST = 64 << 20 };

typedef struct link {
    int fd;
    bool gone; /* the front is */
    mu_buf_t in, out;
    mu_schedule_t *schedule;
} link_t;

/* ---- the socket ---- */

static mu_status_t dial(const char *path, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return mu_fail(MU_USAGE, "%s: too long for the name of a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        mu_status_t status = mu_fail(MU_IO, "%s: no server to compute for: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    *out = fd;
    return MU_OK;
}

static void emit(void *arg, const mu_engine_message_t *message)
{
    link_t *link = arg;
    mu_engine_write(message, &link->out);
}

/* As much as the socket takes. A front that does not read any more is gone. */
static void flush_out(link_t *link)
{
    size_t at = 0;
    while (at < link->out.len) {
        ssize_t n = send(link->fd, link->out.data + at, link->out.len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            link->gone = true;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    memmove(link->out.data, link->out.data + at, link->out.len - at);
    link->out.len -= at;
    if (link->out.len > OUT_MOST)
        link->gone = true;
}

static mu_status_t obey(link_t *link, mu_engine_message_t *m)
{
    mu_engine_message_t refused = {.type = MU_ENGINE_DONE, .id = m->id, .done = MU_ENGINE_REFUSED};
    if (m->type == MU_ENGINE_CANCEL)
        mu_schedule_cancel(link->schedule, m->id);
    else if (m->type != MU_ENGINE_REQUEST)
        return mu_fail(MU_BUG, "the server sent a frame of type %d", (int)m->type);
    else if (!mu_schedule_add(link->schedule, m->id, &m->request))
        emit(link, &refused);
    return MU_OK;
}

static mu_status_t take_frames(link_t *link)
{
    size_t at = 0, used;
    mu_engine_message_t m;
    mu_engine_read_t got = MU_ENGINE_MORE;
    while (at < link->in.len &&
           (got = mu_engine_read(link->in.data + at, link->in.len - at, &used, &m)) == MU_ENGINE_GOT) {
        at += used;
        MU_TRY(obey(link, &m));
    }
    if (got == MU_ENGINE_BAD)
        return mu_fail(MU_BUG, "the server sent what is no frame");
    memmove(link->in.data, link->in.data + at, link->in.len - at);
    link->in.len -= at;
    return MU_OK;
}

/* What has come; waits up to wait_ms for it. */
static mu_status_t listen_to_front(link_t *link, int wait_ms)
{
    struct pollfd fd = {link->fd, (short)(POLLIN | (link->out.len > 0 ? POLLOUT : 0)), 0};
    if (poll(&fd, 1, wait_ms) <= 0)
        return MU_OK;
    while (fd.revents & (POLLIN | POLLHUP | POLLERR)) {
        mu_buf_reserve(&link->in, READ_AT_ONCE);
        ssize_t n = read(link->fd, link->in.data + link->in.len, READ_AT_ONCE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 || (n < 0 && errno != EAGAIN))
            link->gone = true;
        if (n <= 0)
            break;
        link->in.len += (size_t)n;
        MU_TRY(take_frames(link));
    }
    return MU_OK;
}

/* ---- the loop ---- */

static mu_status_t loop(link_t *link, mu_engine_step_t step, mu_engine_tick_t tick, void *arg)
{
    mu_engine_token_t *result = NULL;
    int64_t room = 0;
    bool busy = false;
    mu_status_t status = MU_OK;
    while (!link->gone) {
        const mu_plan_t *plan;
        MU_TRY_GOTO(status, listen_to_front(link, busy ? 0 : TICK_MS), out);
        if (tick)
            tick(arg);
        busy = mu_schedule_plan(link->schedule, &plan);
        if (busy) {
            if (plan->wanted > room) {
                room = plan->wanted;
                result = mu_realloc(result, (size_t)room * sizeof *result);
            }
            MU_TRY_GOTO(status, step(arg, plan, result), out);
            mu_schedule_done(link->schedule, result, emit, link);
        }
        flush_out(link);
    }
out:
    free(result);
    return status;
}

mu_status_t mu_engine_serve(const char *path, const mu_engine_hello_t *hello,
                            const mu_schedule_options_t *options, mu_engine_step_t step,
                            mu_engine_tick_t tick, void *arg)
{
    link_t link = {.fd = -1, .in = MU_BUF_INIT, .out = MU_BUF_INIT};
    mu_engine_message_t m = {.type = MU_ENGINE_HELLO, .hello = *hello};
    MU_TRY(dial(path, &link.fd));
    link.schedule = mu_schedule_new(options);
    mu_engine_write(&m, &link.out);
    mu_status_t status = loop(&link, step, tick, arg);
    mu_schedule_free(link.schedule);
    mu_buf_release(&link.in);
    mu_buf_release(&link.out);
    close(link.fd);
    return status;
}

/* ---- sizes ---- */

mu_status_t mu_engine_shape(const mu_serve_args_t *args, const mu_inference_model_t *model,
                            mu_engine_shape_t *out)
{
    int64_t longest = mu_model_longest(&model->config->model);
    if (!model->tokenizer)
        return mu_fail(MU_NOINPUT, "%s: carries no tokenizer", mu_checkpoint_path(model->checkpoint));
    if (args->slot_tokens > longest)
        return mu_fail(MU_USAGE, "--slot-tokens %lld: the model takes %lld", (long long)args->slot_tokens,
                       (long long)longest);
    mu_engine_shape_t s = {.schedule = {.slots = args->slots,
                                        .capacity = args->slot_tokens > 0
                                                        ? args->slot_tokens
                                                        : mu_min_i64(longest, MU_SERVE_SLOT_TOKENS),
                                        .chunk = args->chunk,
                                        .waiting = args->queue}};
    s.rows = s.schedule.slots + s.schedule.chunk;
    s.length = mu_min_i64(s.rows, longest);
    s.batch = (s.rows + s.length - 1) / s.length;
    *out = s;
    return MU_OK;
}

/* ---- in one process ---- */

static mu_status_t step_here(void *arg, const mu_plan_t *plan, mu_engine_token_t *result)
{
    return mu_stepper_run(arg, plan, result);
}

mu_status_t mu_engine_alone(const mu_serve_args_t *args)
{
    mu_inference_model_t model;
    mu_engine_shape_t shape;
    mu_stepper_t *stepper = NULL;
    mu_engine_hello_t hello = {.version = MU_ENGINE_VERSION};
    mu_status_t status;
    MU_TRY(mu_inference_model_describe(args->on.models.item[0], args->on.keys.item, args->on.keys.count,
                                       &model));
    mu_config_settle(&model.config, &(mu_config_facts_t){.threads = args->on.threads});
    MU_TRY_GOTO(status, mu_engine_shape(args, &model, &shape), out);
    MU_TRY_GOTO(status, mu_inference_model_set_length(&model, shape.length), out);
    if (args->on.check)
        goto out;
    MU_TRY_GOTO(status, mu_inference_model_weights(&model, NULL, shape.batch), out);
    MU_TRY_GOTO(status, mu_net_slots(model.net, shape.schedule.slots, shape.schedule.capacity), out);
    stepper = mu_stepper_new(model.net, model.context.tp, shape.schedule.slots,
                             mu_tokenizer_vocab(model.tokenizer));
    hello.slots = shape.schedule.slots;
    hello.slot_tokens = shape.schedule.capacity;
    hello.waiting = shape.schedule.waiting;
    hello.cache_bytes = (uint64_t)mu_net_slots_bytes(model.net, hello.slots, hello.slot_tokens);
    mu_inference_model_words(&model, hello.words, sizeof hello.words);
    status = mu_engine_serve(args->engine, &hello, &shape.schedule, step_here, NULL, stepper);
out:
    mu_stepper_free(stepper);
    mu_inference_model_close(&model);
    return status;
}
