/*
 * A growing byte string, always NUL terminated after its length. Start from MU_BUF_INIT; mu_buf_release()
 * frees it and makes it empty again. Running out of memory ends the process with exit 70: no caller could go
 * on.
 */
#ifndef MU_COMMON_BUF_H
#define MU_COMMON_BUF_H

#include "common/status.h"
#include <stdarg.h>
#include <stddef.h>

typedef struct mu_buf {
    char *data; /* NUL terminated; never NULL after the first call that adds */
    size_t len, cap;
} mu_buf_t;

#define MU_BUF_INIT                                                                                          \
    {                                                                                                        \
        NULL, 0, 0                                                                                           \
    }

void mu_buf_release(mu_buf_t *buf);
void mu_buf_clear(mu_buf_t *buf); /* length 0, memory kept */
void mu_buf_reserve(mu_buf_t *buf, size_t more);
void mu_buf_add(mu_buf_t *buf, const void *bytes, size_t n);
void mu_buf_addc(mu_buf_t *buf, char c);
void mu_buf_adds(mu_buf_t *buf, const char *text);
void mu_buf_addf(mu_buf_t *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mu_buf_vaddf(mu_buf_t *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* Hands the string over (never NULL); the buffer is empty afterwards. */
char *mu_buf_detach(mu_buf_t *buf);

/* malloc, calloc, realloc, strdup that end the process with exit 70 instead of returning NULL. Sizes that the
 * outside chose are checked against a bound before they come here. */
void *mu_alloc(size_t bytes);
void *mu_calloc(size_t n, size_t size);
void *mu_realloc(void *old, size_t bytes);
char *mu_strdup(const char *text);
/* A new string; free() it. */
char *mu_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
