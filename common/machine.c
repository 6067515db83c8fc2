#include "common/machine.h"
#include "common/num.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool read_boot(char *out, int size)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    bool read = file && fgets(out, size, file);
    if (file)
        fclose(file);
    out[read ? strcspn(out, "\n") : 0] = '\0';
    return out[0] != '\0';
}

void mu_machine_id(char out[MU_MACHINE_SIZE])
{
    char boot[64] = "", net[64] = "", host[250] = "";
    out[0] = '\0';
    if (!read_boot(boot, sizeof boot) || readlink("/proc/self/ns/net", net, sizeof net - 1) <= 0 ||
        gethostname(host, sizeof host - 1) != 0)
        return;
    snprintf(out, MU_MACHINE_SIZE, "%s %s %s", boot, net, host);
}

/* The first number in a file; false when it has none ("max") or is not there. */
static bool number_in(const char *dir, const char *sub, const char *name, int64_t *out)
{
    char path[4096], text[64] = "";
    snprintf(path, sizeof path, "%s%s/%s", dir, sub, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool found = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    text[strcspn(text, " \n")] = '\0';
    return found && mu_parse_i64(text, out);
}

/* The limits of this process's control group and of all above it, for version 2 ("0::/path"). */
typedef struct cgroup {
    int64_t memory_left; /* INT64_MAX: no limit */
    double cores;        /* 0: no limit */
} cgroup_t;

static void look_at_group(const char *root, const char *sub, cgroup_t *out)
{
    int64_t limit, used, quota, period = 100000;
    char path[4096], line[64] = "";
    if (number_in(root, sub, "memory.max", &limit) && number_in(root, sub, "memory.current", &used) &&
        limit - used < out->memory_left)
        out->memory_left = limit > used ? limit - used : 0;
    snprintf(path, sizeof path, "%s%s/cpu.max", root, sub);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    char *space = fgets(line, sizeof line, file) ? strchr(line, ' ') : NULL;
    fclose(file);
    if (!space)
        return;
    *space++ = '\0';
    space[strcspn(space, "\n")] = '\0';
    if (mu_parse_i64(line, &quota) && mu_parse_i64(space, &period) && period > 0) {
        double cores = (double)quota / (double)period;
        if (out->cores <= 0 || cores < out->cores)
            out->cores = cores;
    }
}

static cgroup_t look_at_groups(const char *proc, const char *sys)
{
    cgroup_t found = {INT64_MAX, 0};
    char path[4096], line[2048], root[2048];
    snprintf(path, sizeof path, "%s/self/cgroup", proc);
    snprintf(root, sizeof root, "%s/fs/cgroup", sys);
    FILE *file = fopen(path, "re");
    if (!file)
        return found;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        char *sub = line + 3;
        sub[strcspn(sub, "\n")] = '\0';
        while (*sub) { /* "/a/b", "/a", then the root itself */
            look_at_group(root, strcmp(sub, "/") == 0 ? "" : sub, &found);
            *strrchr(sub, '/') = '\0';
        }
        look_at_group(root, "", &found);
    }
    fclose(file);
    int64_t limit, used; /* version 1, as a container sees it */
    if (number_in(root, "/memory", "memory.limit_in_bytes", &limit) &&
        number_in(root, "/memory", "memory.usage_in_bytes", &used) && limit < INT64_MAX / 2 &&
        limit - used < found.memory_left)
        found.memory_left = limit > used ? limit - used : 0;
    return found;
}

static int64_t memory_available(const char *proc)
{
    char path[4096], line[256];
    long long kib = -1;
    snprintf(path, sizeof path, "%s/meminfo", proc);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (kib < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lld kB", &kib) != 1)
            kib = -1;
    fclose(file);
    return kib < 0 ? -1 : (int64_t)kib * 1024;
}

mu_machine_room_t mu_machine_room(const char *proc, const char *sys)
{
    cgroup_t group = look_at_groups(proc, sys);
    int64_t memory = memory_available(proc);
    if (memory >= 0 && group.memory_left < memory)
        memory = group.memory_left;
    return (mu_machine_room_t){memory, group.cores};
}
