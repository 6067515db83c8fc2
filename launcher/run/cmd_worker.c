#include "launcher/run/cmd_worker.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

mu_status_t mu_worker_program(mu_buf_t *out)
{
    mu_buf_t dir = MU_BUF_INIT;
    mu_status_t status = mu_program_dir(&dir);
    if (status == MU_OK) {
        mu_buf_addf(out, "%s/muster-worker", dir.data);
        if (access(out->data, X_OK) != 0)
            status = mu_fail(MU_BUG, "%s: cannot be run: %s: install muster and muster-worker side by side",
                             out->data, strerror(errno));
    }
    mu_buf_release(&dir);
    return status;
}

mu_status_t mu_cmd_worker(int argc, char **argv)
{
    mu_buf_t program = MU_BUF_INIT;
    mu_status_t status = mu_worker_program(&program);
    if (status != MU_OK)
        goto out;
    char **args = mu_calloc((size_t)argc + 2, sizeof *args);
    args[0] = program.data;
    for (int i = 0; i < argc; i++)
        args[i + 1] = argv[i];
    fflush(NULL);
    execv(program.data, args);
    status = mu_fail(MU_BUG, "%s: cannot be started: %s", program.data, strerror(errno));
    free(args);
out:
    mu_buf_release(&program);
    return status;
}

mu_status_t mu_cmd_worker_wait(int argc, char **argv)
{
    int how;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return mu_fail(MU_BUG, "no process for muster-worker: %s", strerror(errno));
    if (pid == 0)
        _exit(mu_status_exit(mu_cmd_worker(argc, argv)));
    while (waitpid(pid, &how, 0) < 0)
        if (errno != EINTR)
            return mu_fail(MU_BUG, "muster-worker: %s", strerror(errno));
    if (WIFEXITED(how))
        return mu_status_from_exit(WEXITSTATUS(how));
    return mu_fail(MU_BUG, "muster-worker %s was ended by signal %d", argv[0], WTERMSIG(how));
}
