/* A record that cannot be read: left out while --skip-bad allows it, else the end. */
#include "common/log.h"
#include "dataset/prepare/reader_impl.h"

enum { BAD_SHOWN = 3 };

mu_status_t mu_record_bad(mu_reader_t *r, const mu_fault_t *fault, const char *advice)
{
    if (r->counts.bad >= r->options.skip_bad) {
        char spent[64] = "";
        if (r->options.skip_bad > 0)
            snprintf(spent, sizeof spent, "; bad records left out before it: %lld", (long long)r->counts.bad);
        return mu_fail(MU_DATA, "%s:%lld:%zu: %s%s%s", r->text.name, (long long)fault->line,
                       fault->column + 1, fault->why, advice, spent);
    }
    if (r->counts.bad++ < BAD_SHOWN)
        mu_warn("%s:%lld:%zu: left out, since %s", r->text.name, (long long)fault->line, fault->column + 1,
                fault->why);
    return MU_OK;
}
