/* Between preflight's exchange (preflight.c), its judge and its texts. */
#ifndef MU_LAUNCHER_PREFLIGHT_INTERNAL_H
#define MU_LAUNCHER_PREFLIGHT_INTERNAL_H

#include "launcher/preflight/preflight.h"

typedef struct mu_preflight_mesh mu_preflight_mesh_t; /* launcher/preflight/preflight_mesh.h */

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
    const char *hca;                 /* NCCL_IB_HCA, where the user has set it; else NULL */
    bool without_rdma;               /* the settings of NCCL say so; counts unless muster.transport is rdma */
    const mu_preflight_mesh_t *mesh; /* NULL: whether hosts reach each other was not asked */
    mu_preflight_report_t *report;
} mu_judge_t;

/* Decides everything; no I/O. Fills finding, count, fatal, checks, gpus and rdma of the report. */
void mu_preflight_judge(mu_judge_t *judge);
/* The judge's further parts: GPUs; InfiniBand and RoCE; who reaches whom. */
void mu_preflight_judge_devices(mu_judge_t *judge);
void mu_preflight_judge_rdma(mu_judge_t *judge);
void mu_preflight_mesh_judge(const mu_preflight_mesh_t *mesh, mu_judge_t *judge);
/* What host i has for RDMA and what NCCL gets there, in a few words; NULL when it has no such device.
 * free() it. */
char *mu_preflight_network(const mu_preflight_report_t *report, int host);

void mu_judge_find(mu_judge_t *judge, int host, bool fatal, const char *check, char *found, char *wanted,
                   const char *fix);
/* Sets `after` of the findings: those that another one of their host explains. */
void mu_judge_fold(mu_preflight_report_t *report);
/* The value at "resources.shm"; NULL if absent. */
const json_t *mu_judge_at(const json_t *facts, const char *path);
/* A text of the facts; "unknown" if absent. */
const char *mu_judge_text(const json_t *object, const char *key);
/* Text of a host, cut and safe for a terminal; free() it. NULL: "unknown". */
char *mu_judge_shown(const char *text);
/* "GPU 5 (GPU-4f2a...)"; free() it. */
char *mu_judge_gpu(const json_t *device);
/* The most frequent of the values (NULLs do not count; of equally frequent ones the first), and how often. */
const char *mu_judge_majority(const char *const *values, int n, int *times);
/* Adds a finding for each host whose value is not the majority's; NULLs do not count. */
void mu_judge_others(mu_judge_t *judge, const char *check, const char *const *value, bool fatal,
                     const char *fix);
/* Compares one string of the facts between all hosts: a fatal finding for each that differs from the majority
 * and, if it is needed, for each that lacks it. */
void mu_judge_same(mu_judge_t *judge, const char *check, const char *path, bool needed, const char *fix);
/* Slots of host i: as listed, else its GPUs, else one. */
int mu_judge_slots(const mu_judge_t *judge, int host);

#endif
