/* The loop: engines, clients, signals, the end. */
#include "launcher/serve/serve_impl.h"
#include "common/checkpoint/reference.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    CONNECTIONS = 1024,
    IDLE_S = 60,
    REQUEST_S = 30,
    FOLLOW_MS = 1000,
    RETRY_MS = 500,
    RETRY_MOST_MS = 30000,
    SENT_MS = 3000 /* for what was written last to reach its client */
};

/* What the loop alone knows. */
typedef struct loop {
    mu_serve_t *s;
    int signals;
    int64_t tick_ns, follow_ns, retry_ns, drain_end_ns;
    int retry_ms;
    char *followed;     /* the path that RUN@best named last */
    mu_status_t status; /* of the end */
    bool over;
} loop_t;

/* ---- engines ---- */

static mu_status_t start_engine(mu_serve_t *s, mu_served_t *model, mu_backend_t **out)
{
    mu_status_t status = mu_backend_start(s->dir, ++s->backends, s->spawn, s->spawn_arg, model, out);
    if (status == MU_OK)
        model->users++;
    return status;
}

static void end_engine(mu_backend_t **backend)
{
    mu_served_t *model = (*backend)->model;
    mu_backend_stop(*backend);
    *backend = NULL;
    if (--model->users == 0)
        mu_served_free(model);
}

static void announce(mu_serve_t *s)
{
    const mu_backend_t *b = s->current;
    char bytes[32];
    s->counts.models++;
    s->was_ready = true;
    mu_info("ready: %s, version %s, on http://%s", b->model->name, b->model->version,
            mu_http_server_address(s->http));
    mu_info("%lld sequences at once of up to %lld tokens, a cache of %s; computing in %s",
            (long long)b->hello.slots, (long long)b->hello.slot_tokens,
            mu_human_bytes(b->hello.cache_bytes, bytes, sizeof bytes), b->hello.words);
}

/* The engine that serves has died: its requests fail, it is started again. */
static void revive(loop_t *l)
{
    mu_serve_t *s = l->s;
    mu_backend_t *b = s->current;
    bool reaped = mu_backend_reap(b);
    mu_calls_fail(s, b, "the engine ended while it computed this: ask again");
    if (!s->was_ready && !reaped)
        return; /* its exit code says why */
    if (!s->was_ready) {
        l->status = b->exit == 0 || b->exit > 128 ? MU_BUG : mu_status_from_exit(b->exit);
        l->over = true;
        return;
    }
    mu_error("the engine ended%s: it is started again",
             b->state == MU_BACKEND_DEAD && b->exit > 128 ? ", killed" : "");
    end_engine(&s->current);
    s->counts.restarts++;
    l->retry_ns = mu_now_ns() + (int64_t)l->retry_ms * 1000000;
    l->retry_ms = l->retry_ms * 2 < RETRY_MOST_MS ? l->retry_ms * 2 : RETRY_MOST_MS;
}

/* The better model takes over: new requests go to it, the old one ends what it began. */
static void take_over(mu_serve_t *s)
{
    mu_served_t *old = s->model;
    if (s->leaving) /* two changes within one answer: what is still in the oldest fails */
        mu_calls_fail(s, s->leaving, "the model was changed twice while this was computed: ask again");
    if (s->leaving)
        end_engine(&s->leaving);
    s->leaving = s->current;
    s->current = s->coming;
    s->coming = NULL;
    s->model = s->current->model;
    s->model->users++;
    if (--old->users == 0)
        mu_served_free(old);
    announce(s);
}

static void look_after_engines(loop_t *l)
{
    mu_serve_t *s = l->s;
    mu_backend_t *all[] = {s->current, s->coming, s->leaving};
    bool was_ready = mu_serve_ready(s);
    for (int i = 0; i < 3; i++)
        if (all[i]) {
            mu_backend_pump(all[i], mu_call_take, s);
            mu_backend_reap(all[i]); /* one that never connected, too */
        }
    if (s->current && s->current->state == MU_BACKEND_DEAD)
        revive(l);
    else if (!was_ready && mu_serve_ready(s)) {
        l->retry_ms = RETRY_MS;
        announce(s);
    }
    if (s->coming && s->coming->state == MU_BACKEND_DEAD) {
        mu_warn("%s: could not be served: the old model stays", s->coming->model->version);
        end_engine(&s->coming);
    } else if (s->coming && s->coming->state == MU_BACKEND_READY) {
        take_over(s);
    }
    if (s->leaving && (s->leaving->state == MU_BACKEND_DEAD || s->leaving->jobs == 0)) {
        mu_calls_fail(s, s->leaving, "the engine ended while it computed this: ask again");
        end_engine(&s->leaving);
    }
    if (!s->current && !s->draining && mu_now_ns() >= l->retry_ns &&
        start_engine(s, s->model, &s->current) != MU_OK)
        l->retry_ns = mu_now_ns() + (int64_t)RETRY_MOST_MS * 1000000;
}

/* ---- RUN@best ---- */

static mu_served_wish_t wish_of(const mu_serve_args_t *args)
{
    return (mu_served_wish_t){args->name, args->chat_template, args->on.keys.item, args->on.keys.count};
}

/* Without the lock: it reads files. */
static void follow(loop_t *l)
{
    mu_serve_t *s = l->s;
    const char *reference = s->args->on.models.item[0];
    char *path = NULL;
    mu_served_t *model;
    if (s->coming || !s->current || s->draining || mu_reference_path(reference, &path) != MU_OK)
        return;
    if (l->followed && strcmp(path, l->followed) == 0) {
        free(path);
        return;
    }
    bool first = !l->followed;
    free(l->followed);
    l->followed = path;
    mu_served_wish_t wish = wish_of(s->args);
    wish.name = s->model->name;
    if (first || mu_served_open(path, &wish, &model) != MU_OK)
        return;
    mu_info("%s is now %s: loading it beside %s", reference, model->version, s->model->version);
    pthread_mutex_lock(&s->lock);
    start_engine(s, model, &s->coming);
    if (--model->users == 0)
        mu_served_free(model);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the end ---- */

static void begin_drain(loop_t *l)
{
    mu_serve_t *s = l->s;
    struct signalfd_siginfo info;
    while (read(l->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        if (s->draining) {
            mu_warn("asked to end again: running requests are given up");
            l->drain_end_ns = 0;
            continue;
        }
        s->draining = true;
        l->drain_end_ns = mu_now_ns() + s->args->drain_s * 1000000000;
        mu_info("asked to end: no new requests, running ones have %lld s", (long long)s->args->drain_s);
    }
}

static void drain(loop_t *l)
{
    mu_serve_t *s = l->s;
    if (!s->draining || l->over)
        return;
    if (s->calls && mu_now_ns() >= l->drain_end_ns)
        mu_calls_fail(s, NULL, "the server is ending");
    l->over = !s->calls;
}

/* ---- the loop ---- */

static int add_poll(struct pollfd *fd, int n, const mu_backend_t *b)
{
    if (!b || b->state == MU_BACKEND_DEAD)
        return n;
    fd[n] = (struct pollfd){b->fd >= 0 ? b->fd : b->listen_fd, POLLIN, 0};
    if (b->fd >= 0 && b->out.len > 0)
        fd[n].events |= POLLOUT;
    return n + 1;
}

static void wait_for_something(loop_t *l)
{
    mu_serve_t *s = l->s;
    struct pollfd fd[5] = {{l->signals, POLLIN, 0}, {s->wake, POLLIN, 0}};
    uint64_t woken;
    int n = 2;
    pthread_mutex_lock(&s->lock);
    n = add_poll(fd, n, s->current);
    n = add_poll(fd, n, s->coming);
    n = add_poll(fd, n, s->leaving);
    pthread_mutex_unlock(&s->lock);
    poll(fd, (nfds_t)n, MU_HTTP_TICK_MS);
    if (read(s->wake, &woken, sizeof woken) < 0) {
        /* nobody woke it */
    }
}

static void once(loop_t *l)
{
    mu_serve_t *s = l->s;
    int64_t now = mu_now_ns();
    bool tick = now - l->tick_ns >= (int64_t)MU_HTTP_TICK_MS * 1000000;
    if (tick) {
        l->tick_ns = now;
        mu_http_server_tick(s->http);
    }
    pthread_mutex_lock(&s->lock);
    begin_drain(l);
    look_after_engines(l);
    if (tick)
        mu_calls_drop_gone(s);
    drain(l);
    bool feedback = s->feedback && mu_feedback_take(s->feedback);
    pthread_mutex_unlock(&s->lock);
    if (feedback)
        mu_feedback_write(s->feedback);
    if (s->args->follow && now - l->follow_ns >= (int64_t)FOLLOW_MS * 1000000) {
        l->follow_ns = now;
        follow(l);
    }
}

static mu_status_t run_loop(mu_serve_t *s, int signals)
{
    loop_t l = {.s = s, .signals = signals, .retry_ms = RETRY_MS};
    if (s->args->follow)
        follow(&l); /* where it points now */
    pthread_mutex_lock(&s->lock);
    l.status = start_engine(s, s->model, &s->current);
    l.over = l.status != MU_OK;
    pthread_mutex_unlock(&s->lock);
    while (!l.over) {
        wait_for_something(&l);
        once(&l);
    }
    free(l.followed);
    return l.status;
}

/* ---- begin and end ---- */

static mu_status_t check(const mu_serve_args_t *args)
{
    if (args->follow && !mu_served_moves(args->on.models.item[0]))
        return mu_fail(MU_USAGE, "serve: --follow wants RUN@best: '%s' does not change",
                       args->on.models.item[0]);
    if (args->token_file && args->no_auth)
        return mu_fail(MU_USAGE, "serve: --token-file and --no-auth contradict each other");
    return MU_OK;
}

static mu_status_t open_feedback(mu_serve_t *s)
{
    char *path = s->args->feedback ? mu_strdup(s->args->feedback)
                 : s->model->run   ? mu_path_join(s->model->run, "feedback.jsonl")
                                   : NULL;
    mu_status_t status = path ? mu_feedback_open(path, s->args->feedback_size, &s->feedback) : MU_OK;
    if (status != MU_OK && !s->args->feedback) { /* a run that may only be read is served all the same */
        mu_warn("no feedback is kept: --feedback FILE names another place");
        status = MU_OK;
    }
    free(path);
    return status;
}

static mu_status_t open_http(mu_serve_t *s)
{
    mu_http_server_options_t options = {.listen = s->args->listen,
                                        .body_limit = s->args->body,
                                        .connections = CONNECTIONS,
                                        .idle_s = IDLE_S,
                                        .request_s = REQUEST_S,
                                        .handle = mu_serve_handle,
                                        .arg = s};
    MU_TRY(mu_http_server_open(&options, &s->http));
    if (!mu_http_server_is_local(s->http) && !s->has_token && !s->args->no_auth)
        return mu_fail(
            MU_USAGE,
            "serve: other machines reach %s: give --token-file FILE, or --no-auth if all of them may ask",
            mu_http_server_address(s->http));
    mu_info("listening on http://%s", mu_http_server_address(s->http));
    return MU_OK;
}

static mu_status_t make_dir(mu_serve_t *s)
{
    const char *tmp = getenv("TMPDIR");
    s->dir = mu_format("%s/muster-serve-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(s->dir))
        return MU_OK;
    mu_status_t status = mu_fail(MU_IO, "%s: cannot be made: %s", s->dir, strerror(errno));
    free(s->dir);
    s->dir = NULL;
    return status;
}

static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void close_all(mu_serve_t *s)
{
    pthread_mutex_lock(&s->lock);
    s->draining = true;
    mu_calls_fail(s, NULL, "the server is ending");
    if (s->feedback && mu_feedback_take(s->feedback))
        mu_feedback_write(s->feedback);
    pthread_mutex_unlock(&s->lock);
    if (s->http)
        for (int64_t end = mu_now_ns() + (int64_t)SENT_MS * 1000000;
             mu_http_server_busy(s->http) && mu_now_ns() < end;)
            mu_sleep_ms(5);
    mu_http_server_close(s->http);
    mu_backend_t **const all[] = {&s->current, &s->coming, &s->leaving};
    for (int i = 0; i < 3; i++)
        if (*all[i])
            end_engine(all[i]);
    if (s->model && --s->model->users == 0)
        mu_served_free(s->model);
    mu_feedback_close(s->feedback);
    if (s->dir)
        mu_remove_tree(s->dir);
    free(s->dir);
    close(s->wake);
    pthread_mutex_destroy(&s->lock);
}

mu_status_t mu_serve_run(const mu_serve_args_t *args, mu_backend_spawn_t spawn, void *arg)
{
    mu_serve_t s = {.args = args, .spawn = spawn, .spawn_arg = arg};
    mu_served_wish_t wish;
    mu_status_t status;
    int signals;
    MU_TRY(check(args));
    if (sodium_init() < 0)
        return mu_fail(MU_BUG, "libsodium does not start");
    signals = block_signals();
    pthread_mutex_init(&s.lock, NULL);
    s.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (args->token_file)
        MU_TRY_GOTO(status, mu_serve_read_token(&s, args->token_file), out);
    wish = wish_of(args);
    MU_TRY_GOTO(status, mu_served_open(args->on.models.item[0], &wish, &s.model), out);
    MU_TRY_GOTO(status, open_feedback(&s), out);
    MU_TRY_GOTO(status, make_dir(&s), out);
    MU_TRY_GOTO(status, open_http(&s), out);
    status = run_loop(&s, signals);
out:
    close_all(&s);
    close(signals);
    return status;
}
