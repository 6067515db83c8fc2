/* Between preflight's exchange (preflight.c), its judge and its texts. */
#ifndef MU_LAUNCHER_PREFLIGHT_INTERNAL_H
#define MU_LAUNCHER_PREFLIGHT_INTERNAL_H

#include "launcher/preflight.h"

/* The checks of one preflight: what was asked for, what all hosts answered. missing[i]: why host i is looked
 * at but has no facts; NULL otherwise. */
typedef struct mu_judge {
    const mu_hosts_t *hosts;
    const mu_preflight_want_t *want;
    json_t *const *facts;
    char *const *missing;
    const char *cookie;     /* that every host should have read */
    const bool *asked_back; /* of host i: this machine needs no way back */
    bool asked_daemon;
    mu_preflight_report_t *report;
} mu_judge_t;

/* Decides everything; no I/O. Fills finding, count, fatal, checks and gpus of the report. */
void mu_preflight_judge(mu_judge_t *judge);
/* The judge's second half, for devices. */
void mu_preflight_judge_devices(mu_judge_t *judge);

void mu_judge_find(mu_judge_t *judge, int host, bool fatal, const char *check, char *found, char *wanted,
                   const char *fix);
/* The value at "resources.shm"; NULL if absent. */
const json_t *mu_judge_at(const json_t *facts, const char *path);
/* The most frequent of the values (NULLs do not count; of equally frequent ones the first), and how often. */
const char *mu_judge_majority(const char *const *values, int n, int *times);
/* Compares one string of the facts between all hosts: a fatal finding for each that differs from the majority
 * and, if it is needed, for each that lacks it. */
void mu_judge_same(mu_judge_t *judge, const char *check, const char *path, bool needed, const char *fix);
/* Slots of host i: as listed, else its GPUs, else one. */
int mu_judge_slots(const mu_judge_t *judge, int host);

#endif
