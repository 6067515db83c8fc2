#include "common/buf.h"
#include "common/file.h"
#include "worker/guard/guard_impl.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { SOCKETS_MAX = 8192, TABLE_MAX = 32 << 20 };

/* One line of /proc/net/tcp or tcp6 (proc(5)): the address of the other side as hex words of the machine's
 * own order; bytes that are not acknowledged; the timer that is set (4: the peer has no room, and is asked
 * again); how often what is oldest was sent again in a row; the inode. */
typedef struct line {
    char remote[33];
    unsigned long bytes, inode;
    unsigned timer, tries;
} line_t;

static bool parse_line(const char *text, line_t *l)
{
    return sscanf(text, " %*u: %*[0-9A-Fa-f]:%*x %32[0-9A-Fa-f]:%*x %*x %lx:%*x %x:%*x %x %*u %*u %lu",
                  l->remote, &l->bytes, &l->timer, &l->tries, &l->inode) == 5;
}

static void address_text(const char *hex, char *out, size_t size)
{
    uint32_t word[4];
    int n = (int)(strlen(hex) / 8);
    if (n != 1 && n != 4)
        return;
    for (int i = 0; i < n; i++)
        if (sscanf(hex + 8 * i, "%8x", &word[i]) != 1)
            return;
    inet_ntop(n == 1 ? AF_INET : AF_INET6, word, out, (socklen_t)size);
}

void mu_net_parse(const char *text, const unsigned long *inodes, int count, mu_resending_t *most)
{
    enum { NO_ROOM = 4, TRIES_MAX = 1000 };
    for (const char *at = strchr(text, '\n'); at && at[1]; at = strchr(at + 1, '\n')) {
        line_t line;
        if (!parse_line(at + 1, &line) || line.bytes == 0 || line.timer == NO_ROOM ||
            line.tries > TRIES_MAX || (int)line.tries + 1 <= most->times)
            continue;
        for (int i = 0; i < count; i++)
            if (inodes[i] == line.inode) {
                most->times = (int)line.tries + 1;
                address_text(line.remote, most->peer, sizeof most->peer);
                break;
            }
    }
}

/* The inodes of a process's sockets. */
static int sockets_of(pid_t pid, unsigned long *inodes, int room)
{
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && n < room && (e = readdir(dir));) {
        char target[64];
        ssize_t length = readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1);
        if (length <= 0)
            continue;
        target[length] = '\0';
        n += sscanf(target, "socket:[%lu]", &inodes[n]) == 1;
    }
    if (dir)
        closedir(dir);
    return n;
}

static void read_table(pid_t pid, const char *name, mu_buf_t *out)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    mu_buf_clear(out);
    mu_fd_drain(fd, TABLE_MAX, out);
    if (fd >= 0)
        close(fd);
    mu_buf_addc(out, '\0');
}

void mu_net_resending(pid_t pid, mu_resending_t *most)
{
    static unsigned long inodes[SOCKETS_MAX];
    mu_buf_t text = MU_BUF_INIT;
    *most = (mu_resending_t){0};
    int count = sockets_of(pid, inodes, SOCKETS_MAX);
    for (int six = 0; six < 2 && count > 0; six++) {
        read_table(pid, six ? "tcp6" : "tcp", &text);
        mu_net_parse(text.data, inodes, count, most);
    }
    mu_buf_release(&text);
}
