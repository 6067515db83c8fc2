#include "common/duration.h"

#include <stdint.h>

void mu_duration_text(double seconds, mu_buf_t *out)
{
    int64_t s = seconds < 0 ? 0 : seconds > 1e9 ? 1000000000 : (int64_t)(seconds + 0.5);
    if (s >= 3600)
        mu_buf_addf(out, "%lldh%02lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
    else if (s >= 60)
        mu_buf_addf(out, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
    else
        mu_buf_addf(out, "%llds", (long long)s);
}
