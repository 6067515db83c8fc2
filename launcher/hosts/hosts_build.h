/* What the readers of host lists share: a growing list, and one word "user@NAME:SLOTS" of it. */
#ifndef MU_LAUNCHER_HOSTS_BUILD_H
#define MU_LAUNCHER_HOSTS_BUILD_H

#include "launcher/hosts/hosts.h"

typedef struct mu_origin { /* of a host in its source, counted from 1 */
    int line, column;
} mu_origin_t;

typedef struct mu_hosts_build {
    const char *source; /* names the text in messages */
    mu_status_t error;  /* what a mistake in the text is: MU_USAGE or MU_CONFIG */
    mu_hosts_t *hosts;
    mu_origin_t *place;
    int capacity;
    bool
        repeats_count; /* a name alone on its line, given again, is one more slot (node files of PBS and LSF) */
} mu_hosts_build_t;

void mu_hosts_build_begin(mu_hosts_build_t *build, const char *source, mu_status_t error);
/* Adds a host and takes its strings, also on an error (too many hosts). */
mu_status_t mu_hosts_build_add(mu_hosts_build_t *build, mu_host_t *host, mu_origin_t place);
/* Passes the list on if `status` is MU_OK, it has a host, and none twice; frees everything otherwise. */
mu_status_t mu_hosts_build_end(mu_hosts_build_t *build, mu_status_t status, mu_hosts_t **out);
/* Logs "SOURCE:line:column: text". */
mu_status_t mu_hosts_build_fail(const mu_hosts_build_t *build, mu_origin_t place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One word; fills name, user and slots. The strings belong to *host, also on an error. */
mu_status_t mu_hosts_word(const mu_hosts_build_t *build, mu_origin_t place, const char *word, size_t n,
                          mu_host_t *host);
void mu_host_release(mu_host_t *host);
/* The n bytes as a number from 1 to `most`. */
bool mu_hosts_number(const char *text, size_t n, int most, int *out);
bool mu_hosts_user_valid(const char *user, size_t n);

#endif
