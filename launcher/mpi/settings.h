/*
 * The parameters that were set for Open MPI outside of muster: in the environment (OMPI_MCA_name), in the user's
 * ~/.openmpi/mca-params.conf, and in the system's openmpi-mca-params.conf. Open MPI's own ompi_info says what is in
 * effect and where it comes from, with file and line; it takes a quarter of a second, in which the caller does
 * something else.
 *
 *     mu_settings_start(&settings);         starts ompi_info
 *     mu_settings_read(&settings);          takes what it says; waits for it
 *     mu_settings_check(&settings, 4);      MU_CONFIG: what cannot be
 *     mu_settings_get(&settings, "plm_rsh_agent")
 *     mu_settings_free(&settings);
 *
 * Whose value counts: a variable of the environment is the user's wish and wins over muster's own. A line of a file
 * wins too, except `pml` and `btl`, where distributions name components that they leave out; muster names those that
 * it needs. What decides which ranks run where is muster's alone: such a variable does not reach mpirun, such a line
 * is refused.
 */
#ifndef MU_LAUNCHER_SETTINGS_H
#define MU_LAUNCHER_SETTINGS_H

#include "common/args.h"
#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct mu_setting {
    char *name, *value;
    char *from; /* "/etc/openmpi/openmpi-mca-params.conf:12"; NULL: the environment */
} mu_setting_t;

typedef struct mu_settings {
    mu_setting_t *at;
    int count;
    mu_args_t components; /* "plm:rsh", of the Open MPI on this machine */
    pid_t pid;            /* of ompi_info while it is waited for; 0: none */
    int fd;
} mu_settings_t;

/* Nothing fails here: where ompi_info cannot be started, mu_settings_read() warns, and only the environment is
 * known. */
void mu_settings_start(mu_settings_t *settings);
void mu_settings_read(mu_settings_t *settings);
void mu_settings_free(mu_settings_t *settings);
/* Adds what the text of `ompi_info --param all all --level 9 --parsable` names that is no default, and the
 * components. */
void mu_settings_parse(mu_settings_t *settings, const char *text, size_t n);

/* What is set for `name` and counts before muster's own value; NULL: nothing. settings may be NULL: the environment. */
const mu_setting_t *mu_settings_get(const mu_settings_t *settings, const char *name);
/* Whether the parameter decides which ranks run where, whoever sets it. */
bool mu_setting_places(const char *name);
/* What clashes, and a component that is not there: MU_CONFIG, naming parameter and place. What is left out of mpirun's
 * environment is reported. family: 4 or 6, by which the hosts were reached; 0: all on this machine, or both. */
mu_status_t mu_settings_check(const mu_settings_t *settings, int family);

#endif
