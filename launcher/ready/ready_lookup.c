#include "launcher/ready/ready_lookup.h"
#include "launcher/ready/ssh.h"
#include "launcher/ready/ssh_login.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct job {
    struct job *next;
    char **ask;
    mu_found_t found; /* its name and port are what to look up */
} job_t;

typedef struct queue {
    job_t *first, **last;
} queue_t;

struct mu_lookup {
    pthread_mutex_t lock;
    pthread_cond_t more;
    queue_t todo, done;
    int users; /* threads + the owner */
    bool closed;
    int event;
};

static void queue_add(queue_t *queue, job_t *job)
{
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
}

static job_t *queue_take(queue_t *queue)
{
    job_t *job = queue->first;
    if (job && !(queue->first = job->next))
        queue->last = &queue->first;
    return job;
}

static void free_job(job_t *job)
{
    if (job->ask)
        mu_ssh_argv_free(job->ask);
    free(job);
}

/* The last user frees; the lock is held on entry. */
static void leave(mu_lookup_t *lookup)
{
    bool last = --lookup->users == 0;
    pthread_mutex_unlock(&lookup->lock);
    if (!last)
        return;
    for (job_t *job; (job = queue_take(&lookup->todo));)
        free_job(job);
    for (job_t *job; (job = queue_take(&lookup->done));)
        free_job(job);
    close(lookup->event);
    pthread_mutex_destroy(&lookup->lock);
    pthread_cond_destroy(&lookup->more);
    free(lookup);
}

static bool resolve(mu_found_t *out, int flags)
{
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags}, *list = NULL;
    snprintf(service, sizeof service, "%d", out->port);
    out->error = getaddrinfo(out->name, service, &hints, &list);
    out->count = 0;
    if (out->error)
        return false;
    for (struct addrinfo *a = list; a && out->count < MU_LOOKUP_ADDRESSES; a = a->ai_next) {
        memcpy(&out->address[out->count], a->ai_addr, a->ai_addrlen);
        out->length[out->count++] = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return out->count > 0;
}

bool mu_lookup_numeric(const char *name, int port, mu_found_t *out)
{
    *out = (mu_found_t){.port = port};
    snprintf(out->name, sizeof out->name, "%s", name);
    return resolve(out, AI_NUMERICHOST);
}

/* The value of "key value" in what `ssh -G` printed; NULL if absent. Cuts the line's end off. */
static char *setting(char *text, const char *key)
{
    size_t n = strlen(key);
    for (char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return line + n + 1;
    return NULL;
}

static char *line_of(const char *value)
{
    return value ? mu_format("%.*s", (int)strcspn(value, "\n"), value) : NULL;
}

/* Runs `ssh -G`, at most 5 s; without an answer the job keeps its own name and port, and the login will tell.
 */
static void ask_ssh(job_t *job)
{
    mu_login_t login;
    int64_t until = mu_now_ns() + 5000000000;
    if (!mu_login_start(&login, job->ask))
        return;
    while (!login.ended && mu_now_ns() < until) {
        struct pollfd p = {login.out, POLLIN, 0};
        poll(&p, login.out >= 0, login.out >= 0 ? 50 : 2);
        mu_login_read(&login);
    }
    if (login.ended && login.exit_code == 0 && login.pending.len > 0) {
        char *host = line_of(setting(login.pending.data, "hostname"));
        char *port = line_of(setting(login.pending.data, "port"));
        char *command = line_of(setting(login.pending.data, "proxycommand"));
        char *jump = line_of(setting(login.pending.data, "proxyjump"));
        job->found.proxied = (command && strcmp(command, "none") != 0) || (jump && strcmp(jump, "none") != 0);
        if (host && port && strlen(host) < sizeof job->found.name) {
            memcpy(job->found.name, host, strlen(host) + 1);
            job->found.port = (int)strtol(port, NULL, 10);
        }
        free(host);
        free(port);
        free(command);
        free(jump);
    }
    mu_login_end((mu_login_t *const[]){&login}, 1, 0);
}

static void *serve(void *arg)
{
    mu_lookup_t *lookup = arg;
    pthread_mutex_lock(&lookup->lock);
    for (;;) {
        job_t *job;
        while (!lookup->closed && !lookup->todo.first)
            pthread_cond_wait(&lookup->more, &lookup->lock);
        if (lookup->closed)
            break;
        job = queue_take(&lookup->todo);
        pthread_mutex_unlock(&lookup->lock);
        if (job->ask)
            ask_ssh(job);
        if (!job->found.proxied)
            resolve(&job->found, 0);
        pthread_mutex_lock(&lookup->lock);
        queue_add(&lookup->done, job);
        uint64_t one = 1;
        while (!lookup->closed && write(lookup->event, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    leave(lookup);
    return NULL;
}

mu_status_t mu_lookup_new(int threads, mu_lookup_t **out)
{
    mu_lookup_t *lookup = mu_calloc(1, sizeof *lookup);
    pthread_attr_t attr;
    pthread_mutex_init(&lookup->lock, NULL);
    pthread_cond_init(&lookup->more, NULL);
    lookup->todo.last = &lookup->todo.first;
    lookup->done.last = &lookup->done.first;
    lookup->users = 1;
    lookup->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        pthread_mutex_lock(&lookup->lock);
        bool started = pthread_create(&thread, &attr, serve, lookup) == 0;
        lookup->users += started;
        pthread_mutex_unlock(&lookup->lock);
        if (!started)
            break;
    }
    pthread_attr_destroy(&attr);
    if (lookup->event < 0 || lookup->users == 1) {
        mu_lookup_free(lookup);
        return mu_fail(MU_BUG,
                       "cannot start a thread to look names up: the limit of processes or files is reached");
    }
    *out = lookup;
    return MU_OK;
}

void mu_lookup_push(mu_lookup_t *lookup, int index, const char *name, int port, char **ask)
{
    job_t *job = mu_calloc(1, sizeof *job);
    job->ask = ask;
    job->found.index = index;
    job->found.port = port;
    snprintf(job->found.name, sizeof job->found.name, "%s", name);
    pthread_mutex_lock(&lookup->lock);
    queue_add(&lookup->todo, job);
    pthread_cond_signal(&lookup->more);
    pthread_mutex_unlock(&lookup->lock);
}

int mu_lookup_fd(const mu_lookup_t *lookup)
{
    return lookup->event;
}

bool mu_lookup_pop(mu_lookup_t *lookup, mu_found_t *out)
{
    uint64_t events;
    pthread_mutex_lock(&lookup->lock);
    job_t *job = queue_take(&lookup->done);
    if (!job && read(lookup->event, &events, sizeof events) < 0 && errno != EAGAIN)
        mu_debug("eventfd: %s", strerror(errno));
    pthread_mutex_unlock(&lookup->lock);
    if (!job)
        return false;
    *out = job->found;
    free_job(job);
    return true;
}

void mu_lookup_free(mu_lookup_t *lookup)
{
    if (!lookup)
        return;
    pthread_mutex_lock(&lookup->lock);
    lookup->closed = true;
    pthread_cond_broadcast(&lookup->more);
    leave(lookup);
}
