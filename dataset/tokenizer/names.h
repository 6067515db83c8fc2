/* Tokens by their bytes: the ids of a model, found by text. */
#ifndef MU_DATASET_NAMES_H
#define MU_DATASET_NAMES_H

#include <stddef.h>
#include <stdint.h>

typedef struct mu_names {
    int32_t *slots; /* open addressing, at most half full; -1: empty */
    size_t mask;
} mu_names_t;

/* The bytes of a token: n of them at the pointer that is returned. */
typedef const char *(*mu_name_fn)(const void *arg, int32_t id, size_t *n);

/* Room for `count` tokens. mu_names_release() it. */
void mu_names_init(mu_names_t *names, size_t count);
void mu_names_release(mu_names_t *names); /* zeros are fine */
void mu_names_add(mu_names_t *names, mu_name_fn name, const void *arg, int32_t id);
/* -1: no token reads like this. */
int32_t mu_names_find(const mu_names_t *names, mu_name_fn name, const void *arg, const void *bytes, size_t n);

#endif
