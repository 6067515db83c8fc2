#include "common/num.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

bool mu_parse_i64(const char *text, int64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) &&
        !((text[0] == '-' || text[0] == '+') && isdigit((unsigned char)text[1])))
        return false;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || *end)
        return false;
    *out = v;
    return true;
}

bool mu_parse_f64(const char *text, double *out)
{
    char *end;
    if (!text[0] || isspace((unsigned char)text[0]))
        return false;
    double v = strtod(text, &end);
    if (*end || !isfinite(v))
        return false;
    *out = v;
    return true;
}

bool mu_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGTP";
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    double v = strtod(text, &end);
    double scale = 1;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++)
            scale *= 1024;
        end++;
        if (*end == 'i')
            end++;
    }
    if (*end == 'B')
        end++;
    if (*end || !(v * scale < 9e18))
        return false;
    *out = (uint64_t)(v * scale);
    return true;
}

const char *mu_human_bytes(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u + 1 < sizeof units / sizeof *units) {
        v /= 1024;
        u++;
    }
    snprintf(out, size, u == 0 ? "%.0f %s" : "%.2f %s", v, units[u]);
    return out;
}

static bool parse_share(const char *text, size_t n, double *out)
{
    char part[65];
    while (n > 0 && strchr(" \t", *text)) {
        text++;
        n--;
    }
    while (n > 0 && strchr(" \t", text[n - 1]))
        n--;
    if (n >= sizeof part)
        return false;
    snprintf(part, sizeof part, "%.*s", (int)n, text);
    return !strpbrk(part, "xX") && mu_parse_f64(part, out) && *out >= 0; /* no hexadecimal: Python has none */
}

bool mu_parse_split(const char *text, double ratio[3])
{
    double part[3] = {0};
    char separator = strchr(text, ',') ? ',' : '/';
    const char *p = text;
    for (int i = 0; i < 3 && p; i++) {
        const char *end = strchr(p, separator);
        if (!parse_share(p, end ? (size_t)(end - p) : strlen(p), &part[i]))
            return false;
        p = end ? end + 1 : NULL;
    }
    if (p)
        return false; /* a part more than there are */
    double sum = part[0] + part[1] + part[2];
    if (!(sum > 0) || !isfinite(sum))
        return false;
    for (int i = 0; i < 3; i++)
        ratio[i] = part[i] / sum;
    return true;
}
