#include "common/args.h"

static void take(mu_args_t *args, char *text)
{
    args->v = mu_realloc(args->v, (size_t)(args->n + 2) * sizeof *args->v);
    args->v[args->n++] = text;
    args->v[args->n] = NULL;
}

void mu_args_add(mu_args_t *args, const char *text)
{
    take(args, mu_strdup(text));
}

void mu_args_addf(mu_args_t *args, const char *format, ...)
{
    mu_buf_t text = MU_BUF_INIT;
    va_list list;
    va_start(list, format);
    mu_buf_vaddf(&text, format, list);
    va_end(list);
    take(args, mu_buf_detach(&text));
}

void mu_args_free(mu_args_t *args)
{
    for (int i = 0; i < args->n; i++)
        free(args->v[i]);
    free(args->v);
    *args = (mu_args_t){0};
}

void mu_args_quote(const mu_args_t *args, mu_buf_t *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_^";
    for (int i = 0; i < args->n; i++) {
        const char *word = args->v[i];
        if (i > 0)
            mu_buf_addc(out, ' ');
        if (*word && word[strspn(word, plain)] == '\0') {
            mu_buf_adds(out, word);
            continue;
        }
        mu_buf_addc(out, '\'');
        for (; *word; word++)
            if (*word == '\'')
                mu_buf_adds(out, "'\\''");
            else
                mu_buf_addc(out, *word);
        mu_buf_addc(out, '\'');
    }
}
