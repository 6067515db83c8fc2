/* A parameter of a target, its table, and the check of its value. */
#ifndef MU_LAUNCHER_RENDER_PARAMS_H
#define MU_LAUNCHER_RENDER_PARAMS_H

#include "launcher/render/render.h"

typedef enum mu_param_kind {
    MU_PARAM_NUMBER,  /* from low to high */
    MU_PARAM_WORD,    /* one word: letters, digits and - _ . / : @ , + */
    MU_PARAM_LABEL,   /* RFC 1035: a-z, then a-z 0-9 -, ends in a letter or digit */
    MU_PARAM_CHOICE,  /* one of `choices` */
    MU_PARAM_CORES,   /* Kubernetes: 4, 500m; at least 100m */
    MU_PARAM_MEMORY,  /* Kubernetes: 64Gi, 512M; at least 128 MiB */
    MU_PARAM_PATH,    /* absolute: letters, digits and / - _ . */
    MU_PARAM_TIME,    /* Slurm: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S */
    MU_PARAM_KEY,     /* of a label of Kubernetes: topology.kubernetes.io/region */
    MU_PARAM_VALUE,   /* of such a label */
    MU_PARAM_SECRET,  /* NAME or NAME:KEY=VARIABLE,KEY=VARIABLE */
    MU_PARAM_VOLUMES, /* CLAIM:/path,CLAIM:/path */
    MU_PARAM_UID,     /* of an object of Kubernetes, RFC 4122: 8-4-4-4-12 of 0-9 a-f */
    MU_PARAM_STEPS,   /* of a chain, in their order */
    MU_PARAM_GATES,   /* expressions of muster eval --gate, with commas between them */
    MU_PARAM_URL,     /* http, https or file, without a password in it */
    MU_PARAM_DIGEST,  /* SHA-256: 64 of 0-9 a-f; or empty */
    MU_PARAM_INSIDE,  /* a path in a volume: letters, digits and / - _ . , not absolute and without .. */
    MU_PARAM_CLASSES, /* NAME for all claims, or CLAIM:NAME,CLAIM:NAME */
    MU_PARAM_SIZES,   /* CLAIM:SIZE,CLAIM:SIZE */
    MU_PARAM_NAME,    /* of a Secret, or empty; not a key itself */
    MU_PARAM_OPTION,  /* one word, or empty */
    MU_PARAM_REAL,    /* a number */
    MU_PARAM_SPAN,    /* of Prometheus: 5m, 1h */
    MU_PARAM_STEP     /* a checkpoint of a run: best, latest, or the number of a step */
} mu_param_kind_t;

typedef struct mu_param {
    const char *name;
    mu_param_kind_t kind;
    const char *preset; /* NULL: none */
    int64_t low, high;
    const char *choices, *what;
    bool required;
} mu_param_t;

/* Ends with an entry without a name. */
const mu_param_t *mu_param_table(mu_render_target_t target);
/* Errors: MU_USAGE. */
mu_status_t mu_param_check(const mu_param_t *param, const char *value);
/* RFC 1035: a name of an object of Kubernetes. */
bool mu_param_is_label(const char *text);

/* Of CORES. */
double mu_param_cores(const char *cores);
/* Of a MEMORY or a claim's size; 0 when it is none. */
double mu_param_bytes(const char *size);

#endif
