#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    char tag[32], newest_error[512];
    mu_log_level_t level;
    mu_log_sink_t sink;
    void *arg;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .tag = "muster", .level = MU_LOG_INFO};

void mu_log_tag(const char *tag)
{
    pthread_mutex_lock(&state.lock);
    snprintf(state.tag, sizeof state.tag, "%s", tag);
    pthread_mutex_unlock(&state.lock);
}

void mu_log_level_set(mu_log_level_t most_verbose)
{
    pthread_mutex_lock(&state.lock);
    state.level = most_verbose;
    pthread_mutex_unlock(&state.lock);
}

mu_log_level_t mu_log_level(void)
{
    pthread_mutex_lock(&state.lock);
    mu_log_level_t level = state.level;
    pthread_mutex_unlock(&state.lock);
    return level;
}

void mu_log_sink_set(mu_log_sink_t sink, void *arg)
{
    pthread_mutex_lock(&state.lock);
    state.sink = sink;
    state.arg = arg;
    pthread_mutex_unlock(&state.lock);
}

void mu_log_newest_error(char *out, size_t size)
{
    pthread_mutex_lock(&state.lock);
    const char *line =
        state.newest_error + strspn(state.newest_error, " "); /* a line of a list is indented */
    snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    pthread_mutex_unlock(&state.lock);
}

static void write_all(const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(STDERR_FILENO, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody reads stderr any more: the run must go on */
        bytes += n;
        length -= (size_t)n;
    }
}

void mu_vlog(mu_log_level_t level, const char *format, va_list args)
{
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    char text[4096], line[4096 + 64];
    int saved = errno;

    pthread_mutex_lock(&state.lock);
    if (level <= state.level) {
        vsnprintf(text, sizeof text, format, args);
        if (level == MU_LOG_ERROR)
            snprintf(state.newest_error, sizeof state.newest_error, "%.511s", text);
        int n = snprintf(line, sizeof line, "%s: %s%s\n", state.tag, prefix[level], text);
        size_t length = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
        if (state.sink) {
            line[length - 1] = '\0';
            state.sink(level, line, state.arg);
        } else {
            write_all(line, length);
        }
    }
    pthread_mutex_unlock(&state.lock);
    errno = saved;
}

void mu_log(mu_log_level_t level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    mu_vlog(level, format, args);
    va_end(args);
}

mu_status_t mu_fail(mu_status_t status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    mu_vlog(MU_LOG_ERROR, format, args);
    va_end(args);
    return status;
}

void mu_log_lines(mu_log_level_t level, const char *text)
{
    while (text && *text) {
        size_t n = strcspn(text, "\n");
        mu_log(level, "%.*s", (int)n, text);
        text += n + (text[n] != '\0');
    }
}
