/* hold_logins HOSTFILE SSH_ARGS TMP_DIR WORKER: waits until all hosts are ready, prints the ssh arguments for
 * mpirun, holds the logins until stdin ends, and exits with the status of the wait. */
#include "launcher/ready/ready.h"

#include <unistd.h>

int main(int argc, char **argv)
{
    mu_hosts_t *hosts = NULL;
    mu_ssh_t *ssh = NULL;
    mu_ready_t *ready = NULL;
    mu_buf_t args = MU_BUF_INIT;
    mu_status_t status;
    char byte;
    if (argc != 5)
        return 2;
    mu_hosts_query_t query = {.hostfile = argv[1]};
    mu_ready_options_t options = {.timeout = 20, .worker = argv[4]};
    MU_TRY_GOTO(status, mu_hosts_find(&query, &hosts), done);
    MU_TRY_GOTO(status, mu_ssh_new(hosts, argv[2], argv[3], &ssh), done);
    MU_TRY_GOTO(status, mu_ready_new(hosts, ssh, &options, &ready), done);
    MU_TRY_GOTO(status, mu_ready_wait(ready), done);
    mu_ssh_mpirun_args(ssh, &args);
    printf("%s\n", args.data);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
done:
    mu_ready_free(ready);
    mu_ssh_free(ssh);
    mu_hosts_free(hosts);
    mu_buf_release(&args);
    return mu_status_exit(status);
}
