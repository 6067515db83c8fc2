/*
 * The launcher's end of the control connections: listens, lets nobody in without the run's key, hands
 * messages on. One thread, nothing blocks. A peer that has not proven itself within 3 s is dropped; at most
 * 256 such wait at a time.
 *
 *     mu_server_open("127.0.0.1", key, ranks, &server);     mu_server_address() is what guards dial
 *     poll() mu_server_fd(server) for POLLIN                among the loop's own
 *     mu_server_move(server, handler, arg);                 then, and several times a second anyway
 *     mu_server_order(server, rank, &order);                on every connection of that rank
 *     mu_server_close(server);
 *
 * What a message or an order costs does not depend on how many connections there are (docs/measured.md).
 */
#ifndef MU_LAUNCHER_SERVER_H
#define MU_LAUNCHER_SERVER_H

#include "common/control/control_link.h"

typedef struct mu_server mu_server_t;

/* rank: whose connection; -1 before its hello. For a hello, the handler returns whether it is welcome (then
 * the connection is that rank's), for others the return value does not matter. */
typedef bool (*mu_server_handler_t)(void *arg, int rank, const mu_message_t *message);

/* Takes a free port of launcher/mpi/ports.h. ranks: 0 to ranks - 1 may be welcome. The key must outlive the
 * server. Errors: MU_NETWORK;
 * MU_PREFLIGHT (too few open files are allowed). */
mu_status_t mu_server_open(const char *address, const uint8_t key[MU_CONTROL_KEY_BYTES], int ranks,
                           mu_server_t **out);
void mu_server_close(mu_server_t *server);
const char *mu_server_address(const mu_server_t *server);
int mu_server_fd(const mu_server_t *server);
void mu_server_move(mu_server_t *server, mu_server_handler_t handler, void *arg);
void mu_server_order(mu_server_t *server, int rank, const mu_order_t *order);
/* Connections that are open now. */
int mu_server_count(const mu_server_t *server);
/* How many connections ended by each fault so far. */
const int64_t *mu_server_faults(const mu_server_t *server);

#endif
