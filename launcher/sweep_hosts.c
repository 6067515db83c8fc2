#include "common/clock.h"
#include "launcher/sweep.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 32, LIMIT_MS = 3000, TICK_MS = 5 };

static pid_t remove_there(const mu_ssh_t *ssh, int host, const char *command)
{
    char **argv;
    mu_ssh_argv(ssh, host, command, &argv);
    for (char **word = argv; *word; word++)
        if (strcmp(*word, "ControlMaster=yes") == 0) { /* a guest of the open login, not another master */
            free(*word);
            *word = mu_strdup("ControlMaster=no");
        }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; fd <= 2; fd++)
            dup2(null, fd);
        execvp(argv[0], argv);
        _exit(127);
    }
    mu_ssh_argv_free(argv);
    return pid;
}

/* Takes ended ones out of the list; returns how many are left. */
static int reap(pid_t *pids, int count)
{
    for (int i = count - 1; i >= 0; i--)
        if (waitpid(pids[i], NULL, WNOHANG) != 0)
            pids[i] = pids[--count];
    return count;
}

void mu_sweep_hosts(const mu_ssh_t *ssh, const mu_hosts_t *hosts, const bool *skip, const char *token)
{
    pid_t pids[AT_ONCE];
    int count = 0, next = 0, waited = 0;
    mu_buf_t command = MU_BUF_INIT, shm = MU_BUF_INIT;
    mu_run_tmp_dir(token, &shm);
    const char *leaf = strrchr(shm.data, '/') + 1;
    mu_buf_addf(&command, "rm -rf /tmp/%s /dev/shm/%s /tmp/muster-shm/%s", leaf, leaf, leaf);
    while (waited < LIMIT_MS && (next < hosts->count || count > 0)) {
        while (next < hosts->count && count < AT_ONCE) {
            pid_t pid = skip[next] ? -1 : remove_there(ssh, next, command.data);
            next++;
            if (pid > 0)
                pids[count++] = pid;
        }
        mu_sleep_ms(TICK_MS);
        waited += TICK_MS;
        count = reap(pids, count);
    }
    for (int i = 0; i < count; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    mu_buf_release(&shm);
    mu_buf_release(&command);
}
