#include "common/stdio_setup.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void mu_stdio_begin(void)
{
    signal(SIGXFSZ, SIG_IGN);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) /* lower ones are open: open() gives this number */
            (void)!open("/dev/null",
                        fd == STDERR_FILENO ? O_WRONLY : O_RDONLY); /* so that writing a result fails */
}

mu_status_t mu_stdio_end(mu_status_t status)
{
    bool failed = ferror(stdout) != 0; /* before now: errno is of something else */
    int error = fflush(stdout) != 0 ? errno : 0;
    if (status != MU_OK || (!failed && error == 0))
        return status;
    return mu_fail(MU_IO, "standard output: cannot write%s%s: the result is not complete", error ? ": " : "",
                   error ? strerror(error) : "");
}

mu_status_t mu_stdio_write(const mu_buf_t *text)
{
    if ((text->len > 0 && fwrite(text->data, 1, text->len, stdout) != text->len) || fflush(stdout) != 0)
        return mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
    return MU_OK;
}
