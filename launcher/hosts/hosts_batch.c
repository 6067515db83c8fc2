/*
 * The allocations of batch systems other than Slurm.
 *     PBS, Torque   $PBS_NODEFILE          a host a line, once for each slot
 *     LSF           $LSB_DJOB_HOSTFILE     the same
 *     SGE           $PE_HOSTFILE           "HOST SLOTS QUEUE RANGE" a line
 */
#include "launcher/hosts/hosts_build.h"
#include "common/buf.h"

static size_t word_of(const char **p, const char *end, const char **word)
{
    while (*p < end && (**p == ' ' || **p == '\t' || **p == '\r'))
        (*p)++;
    *word = *p;
    while (*p < end && **p != ' ' && **p != '\t' && **p != '\r')
        (*p)++;
    return (size_t)(*p - *word);
}

static mu_status_t read_line(mu_hosts_build_t *build, const char *begin, const char *end, int number,
                             bool numbers)
{
    const char *p = begin, *word, *slots;
    size_t n = word_of(&p, end, &word), digits;
    mu_origin_t place = {number, (int)(word - begin) + 1};
    mu_host_t host = {0};
    if (n == 0)
        return MU_OK;
    mu_status_t status = mu_hosts_word(build, place, word, n, &host);
    if (status == MU_OK && numbers) {
        digits = word_of(&p, end, &slots);
        if (!mu_hosts_number(slots, digits, MU_SLOTS_MAX, &host.slots)) {
            place.column = (int)(slots - begin) + 1;
            status =
                mu_hosts_build_fail(build, place, "a number of slots (1 to %d) is wanted here", MU_SLOTS_MAX);
        }
    }
    if (status == MU_OK)
        status = mu_hosts_build_add(build, &host, place);
    mu_host_release(&host);
    return status;
}

mu_status_t mu_hosts_parse_batch(const char *source, const char *text, size_t n, bool numbers,
                                 mu_hosts_t **out)
{
    mu_hosts_build_t build;
    mu_status_t status = MU_OK;
    const char *p = text, *end = text + n;
    mu_hosts_build_begin(&build, source, MU_CONFIG);
    build.repeats_count = !numbers;
    for (int number = 1; p < end && status == MU_OK; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        status = read_line(&build, p, stop, number, numbers);
        p = newline ? newline + 1 : end;
    }
    return mu_hosts_build_end(&build, status, out);
}
