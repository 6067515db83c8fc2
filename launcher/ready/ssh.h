/*
 * How ssh is called: one list of options, the same for our own logins and for mpirun's.
 *
 *     mu_ssh_new(hosts, user_args, tmp_dir, &ssh);
 *     mu_ssh_argv(ssh, i, remote, &argv);   our login to host i: the connection's master
 *     mu_ssh_mpirun_args(ssh, &text);       for --mca plm_rsh_args (Open MPI 4.1) or plm_ssh_args (5)
 *     mu_ssh_free(ssh);
 *
 * Our login stays open as long as its mu_ready_t lives and is the master of a shared connection
 * (ControlMaster=yes, no ControlPersist: the master is our own child, so nothing can outlive the launcher).
 * mpirun's ssh finds its socket under tmp_dir and starts its daemon over the connection that was proven to
 * work, in 0.15 s instead of 0.4 s, without a new authentication. Without the socket (another host, a master
 * that died) the same options make an ordinary connection: never a question (BatchMode), never an agent or
 * X11 forwarded.
 *
 * The user's own ssh configuration stays in effect, host key checking included. When a host has its own port
 * or user, the options name a small configuration under tmp_dir that holds these and includes the user's.
 *
 * mpirun should get `--mca plm_rsh_no_tree_spawn 1`: only the launcher's host has these sockets (and, in a
 * pod, perhaps the key).
 */
#ifndef MU_LAUNCHER_SSH_H
#define MU_LAUNCHER_SSH_H

#include "common/buf.h"
#include "launcher/hosts/hosts.h"

typedef struct mu_ssh mu_ssh_t;

/* user_args: the config's muster.ssh_args ("-i /keys/id -o StrictHostKeyChecking=yes"), split at blanks, or
 * NULL. tmp_dir: an existing 0700 folder of this run, at most 45 bytes long and without blanks (a socket's
 * path has 108 bytes). Errors: MU_CONFIG (ssh_args holds something that is not an option), MU_USAGE (tmp_dir
 * unfit), MU_IO. */
mu_status_t mu_ssh_new(const mu_hosts_t *hosts, const char *user_args, const char *tmp_dir, mu_ssh_t **out);
void mu_ssh_free(mu_ssh_t *ssh);

/* The NULL-terminated command line of a login to host `index` that runs `remote` (one string, already quoted
 * for a shell: mu_shell_word of launcher/mpi/agent.h). address: the numeric one that was connected to, whose family ssh
 * shall take too; "": any. Free with mu_ssh_argv_free(). */
void mu_ssh_argv(const mu_ssh_t *ssh, int index, const char *address, const char *remote, char ***out);
void mu_ssh_argv_free(char **argv);
/* The port that the options give: the user's -p or -o Port=, as ssh takes it before any file's, else the host's
 * own; 0: none is given. ssh may be NULL. */
int mu_ssh_port(const mu_ssh_t *ssh, int index);
/* Asks `ssh -G` where host `index` really is (HostName, Port, ProxyJump of the user's configuration). argv as
 * above. */
void mu_ssh_argv_ask(const mu_ssh_t *ssh, int index, char ***out);

/* The options without the program's name and without ControlMaster, separated by single blanks. */
void mu_ssh_mpirun_args(const mu_ssh_t *ssh, mu_buf_t *out);

#endif
