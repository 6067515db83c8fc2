/* Where the ranks of an NCCL communicator meet: memory that all of them see, which no file names. */
#ifndef MU_STAND_IN_MEETING_H
#define MU_STAND_IN_MEETING_H

#include "nccl.h"

#include <atomic>
#include <stdint.h>
#include <sys/types.h>

namespace mu_meeting
{
enum { RANKS = 16, CHUNK = 256 << 10 };

enum kind { ALL_REDUCE, REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST };

/* What a rank has called. All ranks must have called the same. */
struct call {
    kind what;
    size_t count; /* as the caller gives it */
    ncclDataType_t type;
    ncclRedOp_t op; /* of reductions */
    int root;       /* of reduce and broadcast */
};

struct rank {
    std::atomic<int> joined;
    pid_t pid;
    uint64_t host;
    int device;
    std::atomic<uint64_t> posted, taken; /* chunks that it put into `data`, and that it has read from all */
    call asks;                           /* for the posted chunk */
};

struct room {
    uint64_t nonce; /* that of the unique id */
    std::atomic<int> size;
    rank ranks[RANKS];
    char data[RANKS][CHUNK];
};

/* A new room: its id. false when the system refuses. */
bool found(ncclUniqueId *id);
/* The room of an id, mapped; NULL when its founder is gone. */
room *enter(const ncclUniqueId *id);
void leave(room *r);
/* The room has everyone: its founder (this process or none) needs no longer keep it open. */
void close_door(const ncclUniqueId *id);
bool lives(pid_t pid);
} // namespace mu_meeting

#endif
