/*
 * Models in other formats where a checkpoint is wanted: recognised by the names of their files, so that whoever
 * refuses one says how to make a checkpoint of it. Nothing is read but a file `latest`.
 */
#ifndef MU_COMMON_FOREIGN_H
#define MU_COMMON_FOREIGN_H

#include "common/status.h"

typedef enum mu_foreign_kind {
    MU_FOREIGN_NONE,
    MU_FOREIGN_HF,  /* a Hugging Face directory: config.json */
    MU_FOREIGN_NEOX /* gpt-neox's: layer_* or mp_rank_* files, or a `latest` that names a directory of them */
} mu_foreign_kind_t;

mu_foreign_kind_t mu_foreign_kind(const char *path);

/* Fails with MU_NOINPUT because `path` holds no checkpoint: what it is instead, and the command for a
 * shell that makes a checkpoint of it. `subject` begins the
 * message ("load (a.yml:3:1)"), or is NULL. */
mu_status_t mu_foreign_refuse(const char *subject, const char *path);

#endif
