#include "common/num.h"
#include "worker/guard/guard_impl.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

/* A small file of /proc or /sys as text; false when it is not there. Silent: absence is an answer here. */
static bool read_text(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

void mu_proc_state(pid_t pid, char *state, int64_t *rss_bytes)
{
    char path[64], text[1024];
    *state = '?';
    *rss_bytes = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof text))
        return;
    char *p = strrchr(text, ')'); /* the name may hold anything, blanks and brackets too */
    if (!p || p[1] != ' ' || !p[2])
        return;
    *state = p[2];
    long long pages = 0;
    /* fields 4 to 23, then rss (proc(5)) */
    if (sscanf(p + 3, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld",
               &pages) == 1)
        *rss_bytes = pages * sysconf(_SC_PAGESIZE);
}

/* The number after `word` at the start of a line, or -1. */
static int64_t value_of(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        long long value;
        if (strncmp(line, word, n) == 0 && line[n] == ' ' && sscanf(line + n, " %lld", &value) == 1)
            return value;
    }
    return -1;
}

/* Our cgroup's folder in the hierarchy of `controller` ("" for version 2): "PATH" of /proc/self/cgroup's
 * line. */
static bool cgroup_path(const char *controller, char *out, size_t size)
{
    char text[8192];
    if (!read_text("/proc/self/cgroup", text, sizeof text))
        return false;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        names++;
        bool found = strcmp(names, controller) == 0;
        char *inner = NULL;
        if (*controller)
            for (char *name = strtok_r(names, ",", &inner); name && !found;
                 name = strtok_r(NULL, ",", &inner))
                found = strcmp(name, controller) == 0;
        if (found)
            return (size_t)snprintf(out, size, "%s", path) < size;
    }
    return false;
}

/* A file of our cgroup; in a container the path is the host's, and the files lie at the root of the mount. */
static bool read_cgroup(const char *controller, const char *mount, const char *file, char *out, size_t size)
{
    char group[PATH_MAX / 2], path[PATH_MAX];
    if (!cgroup_path(controller, group, sizeof group))
        return false;
    snprintf(path, sizeof path, "%s%s/%s", mount, group, file);
    if (read_text(path, out, size))
        return true;
    snprintf(path, sizeof path, "%s/%s", mount, file);
    return read_text(path, out, size);
}

void mu_proc_oom(int64_t *kills, int64_t *limit_bytes)
{
    char text[8192];
    *kills = -1;
    *limit_bytes = -1;
    if (read_cgroup("", "/sys/fs/cgroup", "memory.events", text, sizeof text))
        *kills = value_of(text, "oom_kill");
    else if (read_cgroup("memory", "/sys/fs/cgroup/memory", "memory.oom_control", text, sizeof text))
        *kills = value_of(text, "oom_kill");
    if (read_cgroup("", "/sys/fs/cgroup", "memory.max", text, sizeof text) ||
        read_cgroup("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", text, sizeof text)) {
        char *end = strchr(text, '\n');
        if (end)
            *end = '\0';
        /* version 1 says "no limit" with a number near 2^63 */
        if (!mu_parse_i64(text, limit_bytes) || *limit_bytes > INT64_MAX / 2)
            *limit_bytes = -1;
    }
    if (*kills < 0 && read_text("/proc/vmstat", text, sizeof text))
        *kills = value_of(text, "oom_kill");
    if (*kills < 0)
        *kills = 0;
}
