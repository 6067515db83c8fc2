#include "common/buf.h"
#include "common/log.h"

#include <stdint.h>

static void out_of_memory(size_t bytes)
{
    mu_error("out of memory: %zu bytes wanted", bytes);
    _Exit(mu_status_exit(MU_NOMEM));
}

void *mu_alloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *mu_calloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        out_of_memory(n * size);
    return p;
}

void *mu_realloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes ? bytes : 1);
    if (!p)
        out_of_memory(bytes);
    return p;
}

char *mu_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(mu_alloc(n), text, n);
}

char *mu_format(const char *format, ...)
{
    mu_buf_t buf = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&buf, format, args);
    va_end(args);
    return mu_buf_detach(&buf);
}

void mu_buf_release(mu_buf_t *buf)
{
    free(buf->data);
    *buf = (mu_buf_t)MU_BUF_INIT;
}

void mu_buf_clear(mu_buf_t *buf)
{
    buf->len = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

void mu_buf_reserve(mu_buf_t *buf, size_t more)
{
    if (more > SIZE_MAX / 4 || buf->len > SIZE_MAX / 4)
        out_of_memory(more);
    size_t need = buf->len + more + 1;
    if (need <= buf->cap)
        return;
    size_t cap = buf->cap * 2 > need ? buf->cap * 2 : need;
    buf->data = mu_realloc(buf->data, cap < 64 ? 64 : cap);
    buf->cap = cap < 64 ? 64 : cap;
    buf->data[buf->len] = '\0';
}

void mu_buf_add(mu_buf_t *buf, const void *bytes, size_t n)
{
    mu_buf_reserve(buf, n);
    if (n > 0)
        memcpy(buf->data + buf->len, bytes, n);
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void mu_buf_addc(mu_buf_t *buf, char c)
{
    mu_buf_add(buf, &c, 1);
}

void mu_buf_adds(mu_buf_t *buf, const char *text)
{
    mu_buf_add(buf, text, strlen(text));
}

void mu_buf_vaddf(mu_buf_t *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n > 0) {
        mu_buf_reserve(buf, (size_t)n);
        vsnprintf(buf->data + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    } else {
        mu_buf_reserve(buf, 0);
    }
    va_end(again);
}

void mu_buf_addf(mu_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(buf, format, args);
    va_end(args);
}

char *mu_buf_detach(mu_buf_t *buf)
{
    mu_buf_reserve(buf, 0);
    char *data = buf->data;
    *buf = (mu_buf_t)MU_BUF_INIT;
    return data;
}
