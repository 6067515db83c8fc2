/*
 * The manifest of a checkpoint: what the training knew, and where every value lies.
 *
 * Strings are owned by the struct (mu_manifest_release() frees them) and NULL where a thing is unknown. The
 * text is JSON, one slice a line, its last member a digest of everything before it.
 */
#ifndef MU_COMMON_MANIFEST_H
#define MU_COMMON_MANIFEST_H

#include "common/checkpoint/shard.h"
#include "common/config/loss_scale.h"

#define MU_MANIFEST_VERSION 1
#define MU_MANIFEST_NAME    "manifest.json"
#define MU_MANIFEST_LIMIT   ((size_t)1 << 30) /* bytes */
#define MU_TOKENIZER_NAME   "tokenizer.json"

/* How the text of any version begins; the version's number follows. */
#define MU_MANIFEST_START "{\"format\":\"muster-checkpoint\",\"version\":"
/* How the text ends; the digest is of every byte before this. */
#define MU_MANIFEST_END "\n,\"digest\":\"%s\"}\n"

/* What the training knew when it saved. Fill it, hand it to mu_checkpoint_commit(). */
typedef struct mu_checkpoint_info {
    char *run_id; /* [A-Za-z0-9._-]{1,128} */
    int attempt;
    int tp, dp;               /* layout that wrote the shards; legal to read in any other */
    int64_t step;             /* updates done */
    int64_t optimizer_step;   /* AdamW's t */
    int64_t samples, tokens;  /* consumed since step 0 */
    int64_t order_samples[2]; /* that the train and valid orders were made for at step 0; 0: unknown */
    int64_t parent_step;      /* the step that this run was resumed from; -1: none */
    int64_t seed;
    double time;                /* seconds since 1970 */
    double loss, valid_loss;    /* NAN: none */
    mu_loss_scale_t loss_scale; /* zeros: never scaled */

    struct { /* the schedule in force (common/config/config.h names the fields) */
        char *style;
        double lr, min_lr, warmup, decay_fraction;
        int64_t decay_iters, train_iters;
    } schedule;

    struct { /* what bit-for-bit resumption depends on */
        int threads;
        char *device;          /* "cpu", "NVIDIA H200", ... */
        char *instruction_set; /* what the kernels ran with */
        char *libraries;       /* "oneDNN 2.6.3, Open MPI 4.1.4" */
    } environment;

    char *config;           /* effective configuration, YAML */
    char *data_version;     /* the prepared data set's digest */
    char *tokenizer_digest; /* of the copy of tokenizer.json; mu_checkpoint_commit() sets it */
    char *companions;       /* files beside an imported model (worker/convert/hf_companions.h); NULL: none */
    char *base_path,
        *base_digest; /* of an adapter: the model that it was trained on (adapter.h); NULL: it is none */
    char *lineage;    /* JSON object: source, image, parent, inputs, data (lineage.h); NULL: unknown */
} mu_checkpoint_info_t;

typedef struct mu_manifest_tensor {
    char name[MU_SHARD_NAME];
    int dims;         /* 1 or 2 */
    int64_t shape[2]; /* [1] is 1 for vectors */
} mu_manifest_tensor_t;

typedef struct mu_manifest {
    mu_checkpoint_info_t info;
    char *written_by;              /* "muster 0.1.0" */
    bool optimizer;                /* moments are there */
    mu_manifest_tensor_t *tensors; /* mu_slice_t.tensor counts in this list */
    int tensor_count;
    mu_shard_t *shards;
    int shard_count;
} mu_manifest_t;

void mu_checkpoint_info_release(mu_checkpoint_info_t *info);
void mu_manifest_release(mu_manifest_t *manifest);

/* The text, digest included. Errors: MU_BUG (a string is not UTF-8). */
mu_status_t mu_manifest_write(const mu_manifest_t *manifest, mu_buf_t *out);

/* Reads a manifest that may be damaged or hostile. Checked: the digest, the version, every type and range;
 * names are plain; slices lie in their tensor and in their file, overlap nowhere, and together are every
 * element of every tensor once. On false `why` has the reason (nothing is logged) and `out` is empty. */
bool mu_manifest_parse(const char *text, size_t n, mu_manifest_t *out, mu_buf_t *why);

/* [A-Za-z0-9._-]{1,128} and no leading dot. */
bool mu_manifest_name_ok(const char *name);

#endif
