/*
 * What mpirun starts in the place of ssh, once a host: the program muster-ssh, by a link in the run's folder. It is a
 * program of its own because muster's libraries take ten times as long to load as it takes to run.
 *
 * Open MPI appends the command of its daemon, written for the login shell that the user has on this machine, and ssh
 * gives it to the login shell that he has on the host. fish takes neither `PATH=a; export PATH` nor `( ... )`, csh not
 * the first. So the agent passes the command on as one word of `exec sh -c` (of csh where it is written for csh), in
 * which every byte that means something to a shell is escaped by a backslash: sh, bash, dash, zsh, fish and tcsh read
 * it alike. A line end cannot be escaped for all of them and is refused.
 *
 * The agent also knows the hosts by the names that mpirun was given (launcher/mpi/node_names.h), and which address
 * family was found to work.
 *
 *     mu_agent_install(dir, nodes, families, count)    DIR/muster-ssh and DIR/nodes
 *     mu_agent(argc, argv)                             is all of its main()
 */
#ifndef MU_LAUNCHER_AGENT_H
#define MU_LAUNCHER_AGENT_H

#include "common/args.h"
#include "common/status.h"
#include "launcher/mpi/node_names.h"

#define MU_AGENT_NAME "muster-ssh"

/* family[i]: 4 or 6, by which node i was reached; 0: unknown. Errors: MU_PREFLIGHT (muster-ssh is not beside muster),
 * MU_IO, MU_RUNDIR. */
mu_status_t mu_agent_install(const char *dir, const mu_node_t *nodes, const int *family, int count);
/* argv: DIR/muster-ssh SSH-OPTION... -- NODE COMMAND.... ssh takes this process's place. Errors: MU_USAGE, MU_CONFIG,
 * MU_PREFLIGHT. */
mu_status_t mu_agent(int argc, char **argv);

/* The command line of ssh for such an argv; `nodes` is the text of DIR/nodes. Errors: MU_USAGE, argv has another form;
 * MU_CONFIG, the command has a line end. */
mu_status_t mu_agent_line(int argc, char *const *argv, const char *nodes, mu_args_t *out);
/* Adds `text` as one word that every login shell passes on as it is. Errors: MU_CONFIG, `text` has a line end; the
 * message shows it. */
mu_status_t mu_shell_word(const char *text, mu_buf_t *out);

#endif
