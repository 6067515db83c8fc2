#include "common/clock.h"
#include "worker/guard/guard_impl.h"

#include <poll.h>

static const int64_t redial_after_ns = 1500000000, redial_pause_ns = 1000000000, dial_pause_ns = 300000000;

void mu_uplink_init(mu_uplink_t *up, const mu_guard_env_t *env, const mu_hello_t *hello)
{
    *up = (mu_uplink_t){.env = env, .hello = hello, .answered_ns = mu_now_ns()};
}

static void drop(mu_uplink_t *up, int i)
{
    mu_link_close(up->link[i]);
    up->link[i] = NULL;
    up->greeted[i] = false;
}

static int count(const mu_uplink_t *up)
{
    int n = 0;
    for (int i = 0; i < MU_UPLINKS; i++)
        n += up->link[i] != NULL;
    return n;
}

static void dial(mu_uplink_t *up, int64_t now)
{
    int slot = 0;
    for (int i = 0; i < MU_UPLINKS; i++) {
        if (!up->link[i]) {
            slot = i;
            break;
        }
        if (up->link[i]->since_ns < up->link[slot]->since_ns)
            slot = i;
    }
    if (up->link[slot])
        drop(up, slot); /* all are silent: the oldest has had the most chances */
    up->dialed_ns = now;
    mu_link_dial(&up->env->launcher, up->env->key, &up->link[slot]);
}

void mu_uplink_tick(mu_uplink_t *up)
{
    int64_t now = mu_now_ns();
    for (int i = 0; i < MU_UPLINKS; i++)
        if (up->link[i] && up->link[i]->closed)
            drop(up, i);
    bool none = count(up) == 0;
    bool silent = up->unanswered_ns != 0 && now - up->unanswered_ns > redial_after_ns;
    int64_t pause = none ? dial_pause_ns : redial_pause_ns;
    if ((none || silent) && (up->dialed_ns == 0 || now - up->dialed_ns > pause))
        dial(up, now);
}

/* The first message on every connection. */
static bool greet(mu_uplink_t *up, int i)
{
    mu_message_t hello = {.type = MU_MESSAGE_HELLO};
    hello.hello = *up->hello;
    if (up->greeted[i])
        return true;
    if (!mu_link_send(up->link[i], &hello))
        return false;
    up->greeted[i] = true;
    up->greetings++;
    mu_message_t line = {.type = MU_MESSAGE_LINE};
    for (int k = 0; k < up->kept_count; k++) {
        line.line = up->kept[k];
        mu_link_send(up->link[i], &line);
    }
    up->kept_count = 0;
    return true;
}

static void keep_line(mu_uplink_t *up, const mu_line_t *line)
{
    if (up->kept_count == MU_UPLINK_LINES) {
        memmove(up->kept, up->kept + 1, sizeof up->kept - sizeof *up->kept);
        up->kept_count--;
    }
    up->kept[up->kept_count++] = *line;
}

void mu_uplink_send(mu_uplink_t *up, mu_message_t *message)
{
    if (message->type == MU_MESSAGE_HEARTBEAT)
        message->heartbeat.sequence = ++up->sequence;
    if (message->type == MU_MESSAGE_DEATH)
        message->death.sequence = ++up->sequence;
    if (message->type != MU_MESSAGE_LINE && up->unanswered_ns == 0)
        up->unanswered_ns = mu_now_ns();
    bool went = false;
    for (int i = 0; i < MU_UPLINKS; i++)
        if (up->link[i] && greet(up, i))
            went = mu_link_send(up->link[i], message) || went;
    if (!went && message->type == MU_MESSAGE_LINE)
        keep_line(up, &message->line);
}

int mu_uplink_poll(const mu_uplink_t *up, struct pollfd *fds)
{
    int n = 0;
    for (int i = 0; i < MU_UPLINKS; i++)
        if (up->link[i])
            fds[n++] = (struct pollfd){up->link[i]->fd, mu_link_events(up->link[i]), 0};
    return n;
}

static void take_order(mu_uplink_t *up, const mu_order_t *order, int answerer)
{
    up->answered_ns = mu_now_ns();
    if (order->sequence > up->answered)
        up->answered = order->sequence;
    up->unanswered_ns = up->answered >= up->sequence ? 0 : up->answered_ns;
    if (order->request > up->order.request)
        up->order.request = order->request;
    if (order->kill)
        up->order.kill = 1;
    for (int i = 0; i < MU_UPLINKS; i++)
        if (up->link[i] && i != answerer)
            drop(up, i);
}

void mu_uplink_move(mu_uplink_t *up, const struct pollfd *fds)
{
    /* an answer drops other connections, so the events are matched before any is handled */
    short revents[MU_UPLINKS] = {0};
    for (int i = 0, n = 0; i < MU_UPLINKS; i++)
        if (up->link[i])
            revents[i] = fds[n++].revents;
    for (int i = 0; i < MU_UPLINKS; i++) {
        if (!up->link[i] || !revents[i])
            continue;
        mu_message_t message;
        mu_link_move(up->link[i], revents[i]);
        while (up->link[i] && mu_link_next(up->link[i], &message))
            if (message.type == MU_MESSAGE_ORDER)
                take_order(up, &message.order, i);
        if (up->link[i] && !up->link[i]->closed)
            greet(up, i);
    }
}

void mu_uplink_close(mu_uplink_t *up)
{
    for (int i = 0; i < MU_UPLINKS; i++)
        if (up->link[i])
            drop(up, i);
}
