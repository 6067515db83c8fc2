/* Text in HTML. */
#include "launcher/report/compare.h"

/* One piece of a valid UTF-8 text at p: its bytes, 0 for an end or what is none. */
static size_t utf8_piece(const unsigned char *p)
{
    size_t n = *p < 0x80                 ? 1
               : *p >= 0xc2 && *p < 0xe0 ? 2
               : *p >= 0xe0 && *p < 0xf0 ? 3
               : *p >= 0xf0 && *p < 0xf5 ? 4
                                         : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0))) ||
        (n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))))
        return 0;
    return n;
}

void mu_html_text(const char *bytes, mu_buf_t *out)
{
    for (const unsigned char *p = (const unsigned char *)bytes; *p;) {
        size_t n = utf8_piece(p);
        bool control =
            n == 0 || (*p < ' ' && *p != '\n' && *p != '\t') || *p == 127 || (*p == 0xc2 && p[1] < 0xa0);
        if (control)
            mu_buf_adds(out, "\xef\xbf\xbd");
        else if (*p == '&')
            mu_buf_adds(out, "&amp;");
        else if (*p == '<')
            mu_buf_adds(out, "&lt;");
        else if (*p == '>')
            mu_buf_adds(out, "&gt;");
        else if (*p == '"')
            mu_buf_adds(out, "&quot;");
        else
            mu_buf_add(out, p, n);
        p += n ? n : 1;
    }
}
