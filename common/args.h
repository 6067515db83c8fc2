/* A growing list of strings that execve(2) takes: NULL terminated. Start from {0}. */
#ifndef MU_COMMON_ARGS_H
#define MU_COMMON_ARGS_H

#include "common/buf.h"

typedef struct mu_args {
    char **v; /* NULL before the first addition */
    int n;
} mu_args_t;

void mu_args_add(mu_args_t *args, const char *text);
void mu_args_addf(mu_args_t *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mu_args_free(mu_args_t *args);
/* One line for a POSIX shell. */
void mu_args_quote(const mu_args_t *args, mu_buf_t *out);

#endif
