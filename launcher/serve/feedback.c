#include "launcher/serve/feedback.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RING = 4096 };

typedef struct waiter {
    mu_http_exchange_t *exchange;
    struct waiter *next;
} waiter_t;

struct mu_feedback {
    char *path;
    int fd;
    uint64_t limit, size;
    mu_buf_t lines, writing;
    waiter_t *waiters, *answering;
    int64_t records, rewards;
    struct {
        double time, reward;
    } ring[RING];
    int64_t ringed; /* rewards that ever were in it */
};

static mu_status_t open_file(mu_feedback_t *f)
{
    struct stat is;
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (f->fd < 0 || fstat(f->fd, &is) != 0)
        return mu_fail(mu_make_status(errno), "%s: cannot be written: %s", f->path, strerror(errno));
    f->size = (uint64_t)is.st_size;
    char *dir = mu_path_parent(f->path);
    mu_status_t status = mu_sync_dir(dir);
    free(dir);
    return status;
}

/* A line that a crash cut is ended, so that the next one begins on its own. */
static mu_status_t end_line(mu_feedback_t *f)
{
    char last = '\n';
    int fd = f->size > 0 ? open(f->path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && !mu_pread_all(fd, &last, 1, (off_t)f->size - 1))
        last = '\n';
    if (fd >= 0)
        close(fd);
    if (last == '\n')
        return MU_OK;
    f->size++;
    return mu_write_all(f->fd, "\n", 1)
               ? MU_OK
               : mu_fail(MU_IO, "%s: cannot be written: %s", f->path, strerror(errno));
}

mu_status_t mu_feedback_open(const char *path, uint64_t limit, mu_feedback_t **out)
{
    mu_feedback_t *f = mu_calloc(1, sizeof *f);
    f->path = mu_strdup(path);
    f->limit = limit;
    f->fd = -1;
    mu_status_t status = open_file(f);
    if (status == MU_OK)
        status = end_line(f);
    if (status == MU_OK)
        *out = f;
    else
        mu_feedback_close(f);
    return status;
}

/* ---- a record ---- */

static const char *answer_id(const json_t *body)
{
    const json_t *response = json_object_get(body, "response");
    const json_t *const found[] = {json_object_get(body, "id"), json_object_get(body, "request_id"),
                                   json_object_get(response, "id"),
                                   json_object_get(json_object_get(response, "meta"), "puid")};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        if (json_is_string(found[i]))
            return json_string_value(found[i]);
    return NULL;
}

static const char *answer_version(const json_t *body, const char *newest)
{
    const json_t *response = json_object_get(body, "response");
    const json_t *tags = json_object_get(json_object_get(response, "meta"), "tags");
    const json_t *const found[] = {json_object_get(tags, "version"),
                                   json_object_get(response, "system_fingerprint"),
                                   json_object_get(response, "model_version")};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        if (json_is_string(found[i]))
            return json_string_value(found[i]);
    return newest;
}

static void keep(json_t *to, const char *name, const json_t *from)
{
    json_object_set_new(to, name, from ? json_deep_copy(from) : json_null());
}

static bool refuse(mu_why_t *why, int status, const char *text)
{
    why->status = status;
    snprintf(why->text, sizeof why->text, "%s", text);
    return false;
}

bool mu_feedback_read(const char *body, size_t n, const char *version, mu_buf_t *line, double *reward,
                      mu_why_t *why)
{
    json_error_t error;
    json_t *from = mu_json_parse_nul(body, n, MU_ASKED_VALUES, &error);
    const json_t *value = json_object_get(from, "reward"), *truth = json_object_get(from, "truth");
    bool good = true;
    if (!from)
        return refuse(why, 400, error.text);
    if (!json_is_object(from))
        good = refuse(why, 422, "wanted a JSON object");
    else if (value && !json_is_number(value) && !json_is_null(value))
        good = refuse(why, 422, "reward: wanted a number");
    else if (!json_is_number(value) && (!truth || json_is_null(truth)))
        good = refuse(why, 422, "wanted reward, a number, or truth");
    if (good) {
        const char *id = answer_id(from);
        json_t *to = json_object();
        *reward = json_is_number(value) ? json_number_value(value) : (double)NAN;
        json_object_set_new(to, "time", json_real(mu_wall_seconds()));
        json_object_set_new(to, "id", id ? json_string(id) : json_null());
        json_object_set_new(to, "version", json_string(answer_version(from, version)));
        keep(to, "reward", value);
        keep(to, "truth", truth);
        keep(to, "request", json_object_get(from, "request"));
        keep(to, "response", json_object_get(from, "response"));
        char *text = json_dumps(to, JSON_COMPACT);
        if (text)
            mu_buf_adds(line, text);
        mu_buf_addc(line, '\n');
        free(text);
        json_decref(to);
    }
    json_decref(from);
    return good;
}

/* ---- many at once ---- */

void mu_feedback_add(mu_feedback_t *f, const mu_buf_t *line, double reward, mu_http_exchange_t *exchange)
{
    waiter_t *w = mu_alloc(sizeof *w);
    *w = (waiter_t){exchange, f->waiters};
    f->waiters = w;
    mu_buf_add(&f->lines, line->data, line->len);
    f->records++;
    if (isnan(reward))
        return;
    f->rewards++;
    f->ring[f->ringed % RING].time = mu_wall_seconds();
    f->ring[f->ringed++ % RING].reward = reward;
}

bool mu_feedback_take(mu_feedback_t *f)
{
    mu_buf_t empty = f->writing;
    if (!f->waiters)
        return false;
    f->writing = f->lines;
    f->lines = empty;
    f->answering = f->waiters;
    f->waiters = NULL;
    return true;
}

static void set_aside(mu_feedback_t *f)
{
    char *old = mu_format("%s.%.6f", f->path, mu_wall_seconds());
    if (rename(f->path, old) != 0)
        mu_warn("%s: cannot be set aside as %s: %s", f->path, old, strerror(errno));
    close(f->fd);
    if (open_file(f) != MU_OK)
        mu_warn("%s: feedback is refused until it can be written", f->path);
    free(old);
}

static void answer(waiter_t *list, bool good)
{
    static const char yes[] = "{\"data\":{\"names\":[],\"ndarray\":[]},\"meta\":{}}\n";
    static const char no[] = "{\"error\":{\"message\":\"the feedback could not be stored\",\"code\":500}}\n";
    for (waiter_t *w = list, *next; w; w = next) {
        next = w->next;
        mu_http_begin(w->exchange, good ? 200 : 500, "application/json");
        mu_http_write(w->exchange, good ? yes : no, strlen(good ? yes : no));
        mu_http_end(w->exchange);
        free(w);
    }
}

void mu_feedback_write(mu_feedback_t *f)
{
    bool good = f->fd >= 0 || open_file(f) == MU_OK;
    if (good && !(mu_write_all(f->fd, f->writing.data, f->writing.len) && fdatasync(f->fd) == 0)) {
        mu_error("%s: feedback is lost: %s", f->path, strerror(errno));
        good = false;
        if (ftruncate(f->fd, (off_t)f->size) != 0) /* no part of a line stays */
            mu_warn("%s: may end in a part of a line: %s", f->path, strerror(errno));
    } else if (good) {
        f->size += f->writing.len;
    }
    mu_buf_clear(&f->writing);
    answer(f->answering, good);
    f->answering = NULL;
    if (good && f->size > f->limit)
        set_aside(f);
}

void mu_feedback_counts(mu_feedback_t *f, mu_feedback_counts_t *out)
{
    double since = mu_wall_seconds() - MU_FEEDBACK_WINDOW_S, sum = 0;
    int64_t n = 0;
    for (int64_t i = f->ringed; i > 0 && i > f->ringed - RING && f->ring[(i - 1) % RING].time >= since;
         i--, n++)
        sum += f->ring[(i - 1) % RING].reward;
    *out =
        (mu_feedback_counts_t){.records = f->records,
                               .rewards = f->rewards,
                               .newest = f->ringed > 0 ? f->ring[(f->ringed - 1) % RING].reward : (double)NAN,
                               .mean = n > 0 ? sum / (double)n : (double)NAN};
}

void mu_feedback_close(mu_feedback_t *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    mu_buf_release(&f->lines);
    mu_buf_release(&f->writing);
    free(f->path);
    free(f);
}
