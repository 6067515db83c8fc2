#include "launcher/report/lines.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

/* Gives the whole lines of a piece; returns their bytes. */
static size_t give(char *bytes, size_t n, mu_line_taker_t take, void *arg)
{
    size_t used = 0;
    for (char *end; used < n && (end = memchr(bytes + used, '\n', n - used)) != NULL;) {
        *end = '\0';
        take(arg, bytes + used, (size_t)(end - bytes) - used);
        used = (size_t)(end - bytes) + 1;
    }
    return used;
}

static mu_status_t read_open(mu_lines_t *lines, int fd, mu_line_taker_t take, void *arg, bool *again)
{
    struct stat st;
    mu_status_t status = MU_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return mu_fail(MU_IO, "%s: is not a file", lines->path);
    if (st.st_size < lines->offset) {
        *again = true;
        lines->offset = 0;
        return MU_OK;
    }
    char *piece = mu_alloc(PIECE + 1);
    for (;;) {
        ssize_t n = pread(fd, piece, PIECE, lines->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = mu_fail(MU_IO, "%s: cannot read: %s", lines->path, strerror(errno));
        if (n <= 0)
            break;
        size_t used = give(piece, (size_t)n, take, arg);
        lines->offset += (int64_t)used;
        if (used == 0 && n == PIECE)
            status = mu_fail(MU_DATA, "%s: byte %lld: a line of more than %d bytes", lines->path,
                             (long long)lines->offset, PIECE);
        if (used == 0)
            break;
    }
    free(piece);
    return status;
}

mu_status_t mu_lines_read(mu_lines_t *lines, mu_line_taker_t take, void *arg, bool *again)
{
    *again = false;
    /* a FIFO that somebody made there would hold us up */
    int fd = open(lines->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? MU_OK : mu_fail(MU_IO, "%s: cannot open: %s", lines->path, strerror(errno));
    mu_status_t status = read_open(lines, fd, take, arg, again);
    close(fd);
    return status;
}
