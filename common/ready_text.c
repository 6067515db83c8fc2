#include "common/ready_text.h"

#include <string.h>

void mu_text_escape(const char *bytes, size_t n, size_t most, mu_buf_t *out)
{
    size_t shown = n > most ? most : n;
    mu_buf_adds(out, "");
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c < 32 || c > 126 || c == '\\')
            mu_buf_addf(out, "\\x%02x", c);
        else
            mu_buf_addc(out, (char)c);
    }
    if (shown < n)
        mu_buf_adds(out, "...");
}

void mu_text_put(const char *text, FILE *out)
{
    mu_buf_t shown = MU_BUF_INIT;
    mu_text_escape(text, strlen(text), 8192, &shown);
    fputs(shown.data, out);
    mu_buf_release(&shown);
}
