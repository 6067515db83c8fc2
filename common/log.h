/*
 * The log: the only global state of muster.
 *
 * Every line goes to stderr as "TAG: level: text" (no level for info), or to one sink set by a test or by a
 * program that draws a terminal. Lines are written with one write(2), so lines of several processes do not
 * mix. Texts start in lower case, name their subject, and have no full stop. Thread safe.
 */
#ifndef MU_COMMON_LOG_H
#define MU_COMMON_LOG_H

#include "common/status.h"
#include <stdarg.h>
#include <stddef.h>

typedef enum mu_log_level { MU_LOG_ERROR, MU_LOG_WARN, MU_LOG_INFO, MU_LOG_DEBUG } mu_log_level_t;

/* Receives one line without newline; called with the log's lock held, so it must not log. */
typedef void (*mu_log_sink_t)(mu_log_level_t level, const char *line, void *arg);

/* The tag before each line ("muster", "rank 3"); copied, cut to 31 bytes. */
void mu_log_tag(const char *tag);
void mu_log_level_set(mu_log_level_t most_verbose);
mu_log_level_t mu_log_level(void);
/* NULL restores stderr. */
void mu_log_sink_set(mu_log_sink_t sink, void *arg);

void mu_log(mu_log_level_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of the log for each line of `text`; NULL: none. */
void mu_log_lines(mu_log_level_t level, const char *text);
void mu_vlog(mu_log_level_t level, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

#define mu_error(...) mu_log(MU_LOG_ERROR, __VA_ARGS__)
#define mu_warn(...)  mu_log(MU_LOG_WARN, __VA_ARGS__)
#define mu_info(...)  mu_log(MU_LOG_INFO, __VA_ARGS__)
#define mu_debug(...) mu_log(MU_LOG_DEBUG, __VA_ARGS__)

/* The first line of the newest error that was logged here, without its tag; "" before the first. */
void mu_log_newest_error(char *out, size_t size);

/* Logs an error and returns its status: return mu_fail(MU_IO, "%s: cannot write: %s", path, strerror(errno));
 */
mu_status_t mu_fail(mu_status_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
