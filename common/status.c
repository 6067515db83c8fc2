#include "common/status.h"

static const struct {
    const char *name;
    int code;
    const char *text;
} table[] = {
#define MU_STATUS_ROW(name, code, text) {#name, code, text},
    MU_STATUS_TABLE(MU_STATUS_ROW)
#undef MU_STATUS_ROW
};

static int known(mu_status_t status)
{
    return (int)status >= 0 && status < MU_STATUS_COUNT;
}

int mu_status_exit(mu_status_t status)
{
    return known(status) ? table[status].code : 70;
}

const char *mu_status_text(mu_status_t status)
{
    return known(status) ? table[status].text : "unknown status";
}

const char *mu_status_name(mu_status_t status)
{
    return known(status) ? table[status].name : "UNKNOWN";
}

mu_status_t mu_status_from_exit(int code)
{
    for (int i = 0; i < MU_STATUS_COUNT; i++)
        if (table[i].code == code)
            return (mu_status_t)i;
    return MU_BUG;
}
