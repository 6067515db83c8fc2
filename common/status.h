/*
 * The one status type of muster.
 *
 * A function that can fail returns mu_status_t. MU_OK is 0, everything else is an error; outputs are set on
 * success only. The function that first knows of an error logs it, with its subject, through mu_fail(); every
 * caller above passes the status on in silence. A program's exit code is mu_status_exit() of the first error.
 *
 * The table is {name, exit code, text}. Of two with one code the first one's text says both: who sees the code alone
 * cannot tell them apart. The exit codes are a contract (docs/exit-codes.md).
 */
#ifndef MU_COMMON_STATUS_H
#define MU_COMMON_STATUS_H

#include "common/banned.h"

#define MU_STATUS_TABLE(X)                                                                                   \
    X(OK, 0, "done")                                                                                         \
    X(USAGE, 2, "bad command line")                                                                          \
    X(DATA, 65, "input damaged")                                                                             \
    X(NOINPUT, 66, "input missing")                                                                          \
    X(UNREADY, 69, "hosts not ready before the deadline")                                                    \
    X(BUG, 70, "a bug in muster, or out of memory")                                                          \
    X(NOMEM, 70, "out of memory")                                                                            \
    X(RUNDIR, 73, "run or checkpoint directory unusable")                                                    \
    X(IO, 74, "storage failed or filled")                                                                    \
    X(STOPPED, 75, "stopped on request")                                                                     \
    X(AUTH, 77, "authentication failed")                                                                     \
    X(CONFIG, 78, "configuration invalid")                                                                   \
    X(PREFLIGHT, 80, "preflight failed")                                                                     \
    X(DIED, 81, "a rank died")                                                                               \
    X(HUNG, 82, "a rank hung")                                                                               \
    X(NETWORK, 83, "network failed")                                                                         \
    X(GPU, 84, "GPU failed")                                                                                 \
    X(DIVERGED, 85, "training diverged")                                                                     \
    X(NOVALID, 86, "checkpoints exist, none is valid")                                                       \
    X(GATE, 87, "a gate was not met")                                                                        \
    X(NOPROGRESS, 93, "no progress over several restarts")

typedef enum mu_status {
#define MU_STATUS_ENUM(name, code, text) MU_##name,
    MU_STATUS_TABLE(MU_STATUS_ENUM)
#undef MU_STATUS_ENUM
        MU_STATUS_COUNT
} mu_status_t;

/* The process exit code of a status; 70 for a value outside the table. */
int mu_status_exit(mu_status_t status);
/* The text of the table, never NULL. */
const char *mu_status_text(mu_status_t status);
/* The name as written in the table ("CONFIG"), never NULL; stable, used in JSON. */
const char *mu_status_name(mu_status_t status);
/* The status that a child's exit code stands for; MU_BUG for a code outside the table. */
mu_status_t mu_status_from_exit(int code);

/* Propagates an error; the callee has logged it. */
#define MU_TRY(call)                                                                                         \
    do {                                                                                                     \
        mu_status_t mu_try_status_ = (call);                                                                 \
        if (mu_try_status_ != MU_OK)                                                                         \
            return mu_try_status_;                                                                           \
    } while (0)
/* The same with unwinding: sets `status` and jumps. */
#define MU_TRY_GOTO(status, call, label)                                                                     \
    do {                                                                                                     \
        (status) = (call);                                                                                   \
        if ((status) != MU_OK)                                                                               \
            goto label;                                                                                      \
    } while (0)

#endif
