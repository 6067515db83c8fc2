/* The block that runs: its threads, and how one of them waits. Only the device's thread looks here. */
#ifndef MU_STAND_IN_BLOCK_H
#define MU_STAND_IN_BLOCK_H

#include "fibre.h"
#include "runtime.h"

#include <vector>

namespace mu_block
{
enum { WARP = 32, THREADS = 1024, SHARED_LIMIT = 227 << 10, SHARED_DEFAULT = 48 << 10 };
/* What a kernel is taken to have of its own (`__shared__`): a card counts it with the dynamic one. */
enum { SHARED_OWN = 64 };

enum state { FRESH, READY, RUNNING, AT_BARRIER, IN_WARP, GONE };
enum warp_op { SHUFFLE, BALLOT, WARP_BARRIER, MMA_BF16, MMA_F16, LDMATRIX };

struct copy {
    void *to;
    const void *from;
    int bytes, from_bytes;
};

/* What a lane brings to an operation of its warp, and what it takes away. */
struct lane_part {
    warp_op op;
    mu_stand_in_where where;
    unsigned mask;
    int kind, operand, width; /* shuffles; ldmatrix: count, transpose */
    uint64_t value;           /* in and out */
    const void *in[3];
    void *out;
};

struct thread {
    uint3 index;
    state at;
    mu_fibre *fibre; /* while it waits */
    lane_part part;
    mu_stand_in_where where; /* of a barrier */
    bool predicate;
    int result;
    std::vector<std::vector<copy>> *copies; /* cp.async: groups, the last one open */
};

extern thread threads[THREADS];
extern int thread_count, current;
extern mu_fibre *on; /* the fibre that runs */
extern bool ahead;   /* the threads that may go on do so before others begin */
extern char shared_memory[SHARED_LIMIT];

/* The running thread waits until somebody makes it ready and its turn comes. */
void wait_here(state at);
void make_ready(int t);
/* Ends the program with where everyone is. */
[[noreturn]] void stuck(const char *why);

/* warp.cpp: a block begins. */
void forget_warps(void);
} // namespace mu_block

#endif
