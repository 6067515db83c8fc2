/*
 * The environment variables of muster, each once: what the launcher sets for its ranks, and what a user may set. Only
 * this header writes their names (scripts/check-style), and docs/environment.md has a row for each (unit.launch_env).
 *
 * A variable reaches a rank in one of two ways. `muster run` makes the values of MU_ENV_RANK and MU_ENV_SECRET, sets
 * them for mpirun and lists their names with -x. Of the user's environment mpirun takes along what is listed in
 * launcher/mpi/mpirun.c, where the rows of MU_ENV_PASSED come from this table. Values never stand on a command line,
 * since other users can read it.
 */
#ifndef MU_COMMON_LAUNCH_ENV_H
#define MU_COMMON_LAUNCH_ENV_H

#define MU_ENV_RUN_DIR          "MUSTER_RUN_DIR"
#define MU_ENV_ATTEMPT          "MUSTER_ATTEMPT"
#define MU_ENV_RUN_TOKEN        "MUSTER_RUN_TOKEN"
#define MU_ENV_CONTROL          "MUSTER_CONTROL"
#define MU_ENV_CONTROL_KEY      "MUSTER_CONTROL_KEY"
#define MU_ENV_CONTROL_KEY_FILE "MUSTER_CONTROL_KEY_FILE"
#define MU_ENV_LEASE            "MUSTER_LEASE"
#define MU_ENV_SHM_DIR          "MUSTER_SHM_DIR"
#define MU_ENV_COPIES_DIR       "MUSTER_COPIES_DIR"
#define MU_ENV_CPU_ISA          "MUSTER_CPU_ISA"
#define MU_ENV_CPU_FP16         "MUSTER_CPU_FP16"
#define MU_ENV_CUDA_LIBRARY     "MUSTER_CUDA_LIBRARY"
#define MU_ENV_NCCL_LIBRARY     "MUSTER_NCCL_LIBRARY"
#define MU_ENV_CUDNN_LIBRARY    "MUSTER_CUDNN_LIBRARY"
#define MU_ENV_SHARE_GPU        "MUSTER_SHARE_GPU"
#define MU_ENV_SYSFS            "MUSTER_SYSFS"
#define MU_ENV_NVML             "MUSTER_NVML"
#define MU_ENV_IBVERBS          "MUSTER_IBVERBS"
#define MU_ENV_REQUEUES         "MUSTER_REQUEUES"

typedef enum {
    MU_ENV_RANK,   /* set by `muster run` for each rank */
    MU_ENV_SECRET, /* the same, but the guard removes it before the rank starts */
    MU_ENV_PASSED, /* set by the user, passed to each rank */
    MU_ENV_HERE    /* set by the user, read where it is set and not passed to ranks */
} mu_env_kind_t;

/* X(name, kind, reader, meaning) */
#define MU_LAUNCH_ENV_TABLE(X)                                                                               \
    X(MU_ENV_RUN_DIR, MU_ENV_RANK, "worker/guard, worker/cmd", "the run directory")                          \
    X(MU_ENV_ATTEMPT, MU_ENV_RANK, "worker/guard, worker/cmd, common/run/orphan_cleanup",                    \
      "number of the attempt, from 1")                                                                       \
    X(MU_ENV_RUN_TOKEN, MU_ENV_RANK, "worker/guard, worker/cmd, common/run/orphan_cleanup",                  \
      "32 hex digits that mark the processes of a run; no secret")                                           \
    X(MU_ENV_CONTROL, MU_ENV_SECRET, "worker/guard", "address and port of the launcher")                     \
    X(MU_ENV_CONTROL_KEY_FILE, MU_ENV_SECRET, "worker/guard",                                                \
      "file of the control connection's key: 64 hex digits, mode 0600")                                      \
    X(MU_ENV_CONTROL_KEY, MU_ENV_SECRET, "worker/guard", "the key itself, where there is no file (tests)")   \
    X(MU_ENV_LEASE, MU_ENV_RANK, "worker/guard",                                                             \
      "seconds without an answer of the launcher after which a guard kills its rank")                        \
    X(MU_ENV_SHM_DIR, MU_ENV_RANK, "worker/guard", "folder of the attempt's shared memory on each host")     \
    X(MU_ENV_COPIES_DIR, MU_ENV_RANK, "worker/cmd",                                                          \
      "folder of copies in memory on each host; the launcher's first attempt begins its last name")          \
    X(MU_ENV_CPU_ISA, MU_ENV_PASSED, "kernels/cpu", "most that kernels may use: base, avx2, avx512 or amx")  \
    X(MU_ENV_CPU_FP16, MU_ENV_PASSED, "kernels/cpu", "set: fp16 kernels on CPUs (tests)")                    \
    X(MU_ENV_CUDA_LIBRARY, MU_ENV_PASSED, "kernels, worker/train", "the file of muster's CUDA library")      \
    X(MU_ENV_NCCL_LIBRARY, MU_ENV_PASSED, "worker/comm", "the file of NCCL")                                 \
    X(MU_ENV_CUDNN_LIBRARY, MU_ENV_PASSED, "kernels/cuda", "the file of cuDNN")                              \
    X(MU_ENV_SHARE_GPU, MU_ENV_PASSED, "worker/train", "1: workers of a host may share its GPUs (tests)")    \
    X(MU_ENV_SYSFS, MU_ENV_PASSED, "launcher/preflight, worker/train", "the folder to read instead of /sys") \
    X(MU_ENV_NVML, MU_ENV_HERE, "launcher/preflight", "the file of NVML on the hosts")                       \
    X(MU_ENV_IBVERBS, MU_ENV_HERE, "launcher/preflight", "the file of libibverbs on the hosts")              \
    X(MU_ENV_REQUEUES, MU_ENV_HERE, "slurm/muster.sbatch", "how often a Slurm job may be requeued")

typedef struct {
    const char *name;
    mu_env_kind_t kind;
    const char *reader, *meaning;
} mu_env_row_t;

/* The rows of the table; a row without a name ends them. */
extern const mu_env_row_t mu_launch_env[];

#endif
