/*
 * The probe: `muster-worker --probe`, the other end of readiness and preflight on each host. It observes and
 * judges nothing; asked to, it first removes what earlier attempts of the run left on its host.
 *
 * It is started by a login (or directly, on the launcher's own host), speaks lines on stdin and stdout, and
 * ends when stdin does, so it cannot outlive its login. At most 1 MiB a line.
 *
 *     out  MUSTER-HELLO 1 {"version", "build", "host", "pid", "machine"} at once; build is the digest of this program
 *     in   MUSTER-ASK {...}                                      what to look at (mu_probe_answer)
 *     out  MUSTER-FACTS {...}                                    what was seen
 *     in   MUSTER-MESH {"seconds", "to": [[address, port], ...]} after a question with "mesh": to dial other hosts
 *     out  MUSTER-MESH {"state": "ok", "seen": ["ok", "refused", ...]} of each, in the same order
 *          (common/control/mesh.h)
 *     in   MUSTER-MESH {}                                        nobody dials any more; no answer
 *
 * A login shell may print lines of its own before the hello: the reader skips to the word MUSTER-HELLO at the
 * beginning of a line.
 */
#ifndef MU_WORKER_PROBE_H
#define MU_WORKER_PROBE_H

#include "common/control/mesh.h"
#include "common/control/probe_words.h"
#include "common/status.h"
#include <jansson.h>

/* Answers until stdin ends. Call it first in main(), before MPI and before any output. Errors: MU_IO (stdout
 * is gone). */
mu_status_t mu_probe_main(void);

/* The facts for one question (docs/readiness.md, worker/probe_*.c); a new reference. Keys of `ask`, all optional:
 *
 *     "orphan_cleanup"    {"token", "last", "copies"}: end processes and remove folders of the run
 *                         (common/run/orphan_cleanup.h); alone in the
 *                question, nothing else is looked at
 *     "storage"  {"dir", "cookie"}: look at the run directory; cookie: name of a file in it
 *     "tmp"      {"dir"}: make this folder, write 1 MiB in it, remove both
 *     "back"     {"address", "port", "token", "seconds"}: connect to the launcher, send the token
 *     "daemon"   "/usr/bin/orted": mpirun's program on this side
 *     "hca"      "mlx5_0,mlx5_1": the RDMA ports to use, as in NCCL_IB_HCA
 *     "paths"    {"nvml", "ibverbs", "sys", "shm", "proc", "dev"}: where to look instead of the usual places
 *     "seconds"  for each part that can hang; 10 */
json_t *mu_probe_answer(const json_t *ask);

/* For "mesh": {"interfaces", "instead", "port", "ports", "token"} in the question: listens (mu_mesh_new), and says
 * where ("state": "ok", "address", "port", and "instead" when `interfaces` chooses nothing there) or why not. *mesh is
 * NULL then; it is the caller's to free. */
json_t *mu_probe_mesh_listen(const json_t *wish, mu_mesh_t **mesh);
/* Dials whom a line MUSTER-MESH names. False: it names nobody in the right way. */
bool mu_probe_mesh_dial(mu_mesh_t *mesh, const json_t *line);
/* What it answers in the end. */
json_t *mu_probe_mesh_seen(const mu_mesh_t *mesh, int peers);

#endif
