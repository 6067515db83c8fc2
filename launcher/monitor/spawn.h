/* mpirun as a child: in a process group of its own, and with the signals blocked that ask to end, so that Ctrl-C and a
 * scheduler's SIGTERM reach only the launcher. */
#ifndef MU_LAUNCHER_SPAWN_H
#define MU_LAUNCHER_SPAWN_H

#include "launcher/monitor/rundir_writer.h"
#include <sys/types.h>

typedef struct mu_spawn {
    pid_t pid;
    int output_fd; /* stdout and stderr, non-blocking; -1 once they ended */
    bool gone;
    int code;   /* exit code, or 128 + signal, once gone */
    int signal; /* that killed it; 0: none */
    char line[512], last_line[512];
    size_t len;
    char help[1024];    /* the first help text that names a cause, its lines joined; "": none */
    char general[1024]; /* the one with which MPI_Init ends after a text that says more; "": none */
    int64_t help_ns;    /* when it was complete; 0: not yet */
    int frames;         /* lines of dashes so far */
} mu_spawn_t;

/* Errors: MU_BUG. */
mu_status_t mu_spawn(char *const *argv, char *const *envp, mu_spawn_t *out);
/* What it printed goes to logs/mpirun.log; the last line that is no frame of a help text is kept. */
void mu_spawn_read(mu_spawn_t *spawn, mu_rundir_writer_t *writer);
/* The help text that is the cause; of a long one its beginning and its end, where Open MPI writes the names. "":
 * none. */
void mu_spawn_help(const mu_spawn_t *spawn, char *out, size_t size);
void mu_spawn_reap(mu_spawn_t *spawn);
/* Kills it if it is still there, reads the rest, closes. */
void mu_spawn_end(mu_spawn_t *spawn, mu_rundir_writer_t *writer);

#endif
