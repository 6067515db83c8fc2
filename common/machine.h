/*
 * Which machine this is: the boot of its kernel, and the network namespace and host name of this process. Two hosts are
 * one machine if all three agree. Names and addresses prove less: one machine may have many of them, and an address of
 * a bridge may exist on every machine.
 */
#ifndef MU_COMMON_MACHINE_H
#define MU_COMMON_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MU_MACHINE_SIZE 384

/* "BOOT net:[INODE] HOST", or "" when /proc does not show it: then nothing is proved, and nothing may be concluded. */
void mu_machine_id(char out[MU_MACHINE_SIZE]);

/* What this process can still have of the machine, its control group's limits counted. */
typedef struct mu_machine_room {
    int64_t memory; /* bytes; -1: unknown */
    double cores;   /* that the group allows; 0: no limit */
} mu_machine_room_t;

/* proc, sys: "/proc" and "/sys", or what stands for them. */
mu_machine_room_t mu_machine_room(const char *proc, const char *sys);

#endif
