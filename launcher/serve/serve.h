/*
 * `muster serve`: HTTP on one side, an engine on the other.
 *
 * Two threads. The HTTP server's reads requests, makes tokens of them, and puts them into the engine's queue. The loop
 * (mu_serve_run()) carries frames between the engine and the clients' answers, starts an engine anew that died, loads a
 * better model beside the one that serves, syncs feedback, and ends it all. One lock guards what both touch.
 */
#ifndef MU_LAUNCHER_SERVE_H
#define MU_LAUNCHER_SERVE_H

#include "common/commands/serve_commands.h"
#include "launcher/serve/backend.h"

/* Serves until SIGTERM or SIGINT. spawn, arg: become the engine of a checkpoint. Errors: MU_USAGE (an address that
 * others reach, without a token), MU_UNREADY (the address cannot be had), those of mu_served_open(); that of an engine
 * which ends before it was ready once. */
mu_status_t mu_serve_run(const mu_serve_args_t *args, mu_backend_spawn_t spawn, void *arg);

#endif
