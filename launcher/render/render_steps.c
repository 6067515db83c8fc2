#include "launcher/render/render_impl.h"

#include <string.h>

const char *const mu_chain_step[MU_CHAIN_STEPS] = {"import", "prepare", "train", "gate", "export"};

bool mu_chain_steps_valid(const char *list)
{
    int next = 0;
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        while (next < MU_CHAIN_STEPS &&
               !(strlen(mu_chain_step[next]) == n && memcmp(mu_chain_step[next], at, n) == 0))
            next++;
        if (next++ == MU_CHAIN_STEPS)
            return false;
        at += n;
        if (*at == ',' && !*++at)
            return false;
    }
    return *list != '\0';
}
