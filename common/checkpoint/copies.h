/*
 * Copies of a run's state in the memory of its hosts (docs/checkpoints.md): the files of one host, and what all hosts
 * hold together. DIR lies in /dev/shm, belongs to one launcher of one run, and is gone with either:
 *
 *     DIR/0, DIR/1                 two slots, written in turn: the copy before stays whole while the next is made
 *         shard-tp00-dp01.h5       a worker's piece: a whole shard file (shard.h); its header names run, step, attempt
 *         shard-tp00-dp01.h5.tmp   the same while it is written
 *         manifest.json            of the pieces of all hosts, once all were there
 *     DIR/whole                    while a start reads them: a checkpoint of links and of pieces from elsewhere
 *
 * Nothing here is durable, and no MPI is called.
 */
#ifndef MU_COMMON_COPIES_H
#define MU_COMMON_COPIES_H

#include "common/checkpoint/manifest.h"

enum { MU_COPY_SLOTS = 2, MU_COPY_RUN_ID = 40 };

/* The state that a piece or a manifest is of. */
typedef struct mu_copy_id {
    char run_id[MU_COPY_RUN_ID];
    int64_t step, attempt;
} mu_copy_id_t;

/* A whole file of a slot. Travels as bytes between ranks. */
typedef struct mu_copy_entry {
    char name[MU_SHARD_NAME + 3];
    int32_t slot, host; /* host: set by who puts hosts together */
    int32_t workers;    /* of a manifest: how many pieces it lists; of a piece 0 */
    int32_t padding;
    uint64_t size;
    mu_copy_id_t id;
} mu_copy_entry_t;

/* Makes DIR and its slots, private to this user. Errors: MU_IO (not ours, or it cannot be made). */
mu_status_t mu_copies_make(const char *dir);
/* What is whole in DIR: a new array, free() it; empty where DIR is not there. What does not begin as a shard of its
 * name does, or is no manifest, is left out. */
void mu_copies_list(const char *dir, mu_copy_entry_t **out, int *count);
/* Removes the pieces of both slots whose names are not in keep[0 .. n). */
void mu_copies_sweep(const char *dir, char (*keep)[MU_SHARD_NAME], int n);

/* A state that manifests of some hosts name. */
typedef struct mu_copy_set {
    mu_copy_id_t id;
    int workers, have; /* pieces in all; those that some host holds */
    int manifest;      /* index of an entry that is its manifest */
    int slot;          /* that it lies in */
} mu_copy_set_t;

/* The newest state (by step, then attempt) all of whose pieces are there. *whole false: there is none, and out is the
 * newest state that a manifest names, with have < workers. False: there is no manifest at all. */
bool mu_copies_newest(const mu_copy_entry_t *entries, int n, mu_copy_set_t *out, bool *whole);
/* The entries that are that state's pieces, the manifest left out, each name once (the first that has it): how many;
 * their indices go to out[0 .. n). */
int mu_copies_pieces(const mu_copy_entry_t *entries, int n, const mu_copy_id_t *id, int *out);
bool mu_copy_same(const mu_copy_id_t *a, const mu_copy_id_t *b);

/* A piece of this host in both slots, mapped: the memory is there from mu_copy_piece_map() on. */
typedef struct mu_copy_piece {
    char name[MU_SHARD_NAME];
    uint64_t size;
    char *bytes[MU_COPY_SLOTS]; /* NULL: not mapped */
} mu_copy_piece_t;

/* Bytes of both slots' files of that name and size that are there already. */
uint64_t mu_copy_piece_there(const char *dir, const char *name, uint64_t size);
/* Maps them, and makes those that are missing. One that is whole stays so. Errors: MU_IO (no room). */
mu_status_t mu_copy_piece_map(const char *dir, const char *name, uint64_t size, mu_copy_piece_t *out);
void mu_copy_piece_unmap(mu_copy_piece_t *piece); /* one filled with zeros is nothing */
/* From begin to end the piece of that slot is not whole. Errors: MU_IO. */
mu_status_t mu_copy_piece_begin(const char *dir, const mu_copy_piece_t *piece, int slot);
mu_status_t mu_copy_piece_end(const char *dir, const mu_copy_piece_t *piece, int slot);

/* DIR/whole, empty; remove it by mu_copies_whole_end(). Errors: MU_IO. */
mu_status_t mu_copies_whole_begin(const char *dir);
/* One file of it from a slot of this host. Errors: MU_IO. */
mu_status_t mu_copies_whole_link(const char *dir, const mu_copy_entry_t *entry);
/* Its memory: of one that is linked, or new memory for one that comes from elsewhere. Errors: MU_IO (no room). */
mu_status_t mu_copies_whole_map(const char *dir, const char *name, uint64_t size, char **out);
void mu_copies_whole_unmap(char *bytes, uint64_t size); /* NULL is nothing */
void mu_copies_whole_end(const char *dir);

/* "DIR/0"; "DIR/whole". free() them. */
char *mu_copies_slot(const char *dir, int slot);
char *mu_copies_whole(const char *dir);

#endif
