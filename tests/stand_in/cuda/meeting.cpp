#include "meeting.h"

#include <errno.h>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

namespace mu_meeting
{
/* What is in a unique id: the founder's open file, which the others open through /proc. */
struct address {
    uint64_t nonce;
    pid_t pid;
    int fd;
};
static_assert(sizeof(address) <= NCCL_UNIQUE_ID_BYTES, "an address fits the id");

static std::mutex lock;
static std::map<uint64_t, int> &doors = *new std::map<uint64_t, int>; /* files that this process keeps open */

bool found(ncclUniqueId *id)
{
    address a = {0, getpid(), memfd_create("stand-in-nccl", MFD_CLOEXEC)};
    if (a.fd < 0 || ftruncate(a.fd, sizeof(room)) != 0 ||
        getrandom(&a.nonce, sizeof a.nonce, 0) != sizeof a.nonce ||
        pwrite(a.fd, &a.nonce, sizeof a.nonce, offsetof(room, nonce)) != sizeof a.nonce)
        return false;
    memset(id->internal, 0, sizeof id->internal);
    memcpy(id->internal, &a, sizeof a);
    std::lock_guard<std::mutex> guard(lock);
    doors[a.nonce] = a.fd;
    return true;
}

room *enter(const ncclUniqueId *id)
{
    address a;
    char path[64];
    memcpy(&a, id->internal, sizeof a);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)a.pid, a.fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *p = mmap(NULL, sizeof(room), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return NULL;
    room *r = (room *)p;
    if (r->nonce != a.nonce) {
        leave(r);
        return NULL;
    }
    return r;
}

void leave(room *r)
{
    munmap(r, sizeof *r);
}

void close_door(const ncclUniqueId *id)
{
    address a;
    memcpy(&a, id->internal, sizeof a);
    std::lock_guard<std::mutex> guard(lock);
    auto door = doors.find(a.nonce);
    if (door == doors.end())
        return;
    close(door->second);
    doors.erase(door);
}

bool lives(pid_t pid)
{
    char path[64], text[256] = "";
    if (kill(pid, 0) != 0 && errno == ESRCH)
        return false;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid); /* a zombie has died too */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *name_end = n > 0 ? strrchr(text, ')') : NULL;
    return name_end && strncmp(name_end, ") Z", 3) != 0 && strncmp(name_end, ") X", 3) != 0;
}
} // namespace mu_meeting
