#include "common/listen.h"
#include "common/num.h"

#include <string.h>

bool mu_listen_split(const char *text, mu_buf_t *host, int *port)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    int64_t number;
    if (!mu_parse_i64(colon ? colon + 1 : text, &number) || number < 0 || number > 65535)
        return false;
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']')
        mu_buf_add(host, text + 1, n - 2);
    else if (memchr(text, ':', n))
        return false; /* an address with colons wants brackets */
    else
        mu_buf_add(host, text, n);
    if (host->len == 0)
        mu_buf_adds(host, "127.0.0.1");
    *port = (int)number;
    return true;
}
