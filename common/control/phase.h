/*
 * Where a rank is, and what may be asked of a run: the words that ranks, guards and the launcher share.
 */
#ifndef MU_COMMON_PHASE_H
#define MU_COMMON_PHASE_H

#define MU_PHASE_TABLE(X)                                                                                    \
    X(START, "start")           /* before MPI_Init */                                                        \
    X(MPI_INIT, "mpi_init")     /* inside MPI_Init */                                                        \
    X(SETUP, "setup")           /* groups, memory, data */                                                   \
    X(LOAD, "load")             /* reading a checkpoint */                                                   \
    X(FIRST_STEP, "first_step") /* may be slow: plans are made, pages touched */                             \
    X(STEP, "step")                                                                                          \
    X(EVAL, "evaluate")                                                                                      \
    X(SAVE, "checkpoint")                                                                                    \
    X(FINISH, "finish") /* the loop is over; MPI_Finalize */

typedef enum mu_phase {
#define MU_PHASE_ENUM(name, text) MU_PHASE_##name,
    MU_PHASE_TABLE(MU_PHASE_ENUM)
#undef MU_PHASE_ENUM
        MU_PHASE_COUNT
} mu_phase_t;

const char *mu_phase_name(int phase); /* never NULL */

/* What the launcher asks of the run; only the controller acts on it. Higher wins. */
typedef enum mu_request {
    MU_REQUEST_NONE,
    MU_REQUEST_CHECKPOINT,
    MU_REQUEST_STOP,
    MU_REQUEST_STOP_NOW
} mu_request_t;

#endif
