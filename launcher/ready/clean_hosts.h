/* What attempts leave on other hosts: processes that carry the run's token, folders of mpirun's daemons,
 * shared memory of killed ranks. Preflight removes what lies there before an attempt; this does so after the
 * run. */
#ifndef MU_LAUNCHER_CLEAN_HOSTS_H
#define MU_LAUNCHER_CLEAN_HOSTS_H

#include "launcher/ready/ready.h"

/* Over the logins that are open, all at once, within 3 s. A host that does not answer keeps them until the
 * next start; that is no error. */
void mu_clean_hosts(mu_ready_t *ready, const char *token);

#endif
