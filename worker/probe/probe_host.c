/* What the host gives a rank: programs, libraries, cores, memory, limits. */
#include "worker/probe/probe_internal.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/num.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <linux/capability.h>
#include <mpi.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

json_t *mu_probe_versions(const json_t *ask)
{
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    struct utsname os = {0};
    (void)ask;
    MPI_Get_library_version(mpi, &length); /* allowed before MPI_Init (MPI 3.1, 8.7) */
    mpi[strcspn(mpi, ",\n")] = '\0';
    uname(&os);
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "muster", MU_VERSION, "mpi", mpi, "libc",
                     gnu_get_libc_version(), "kernel", os.release, "machine", os.machine);
}

/* The linker's build id of a loaded object: the first bytes, in hex. */
static void build_id(const struct dl_phdr_info *info, char out[17])
{
    snprintf(out, 17, "-");
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_NOTE)
            continue;
        const char *p = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        const char *end = p + info->dlpi_phdr[i].p_memsz;
        while (end - p >= (ptrdiff_t)sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) note;
            memcpy(&note, p, sizeof note);
            size_t name = (note.n_namesz + 3U) & ~3U, desc = (note.n_descsz + 3U) & ~3U;
            p += sizeof note;
            if ((size_t)(end - p) < name + desc)
                break;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(p, "GNU", 4) == 0 &&
                note.n_descsz >= 8) {
                for (int b = 0; b < 8; b++)
                    snprintf(out + 2 * b, 3, "%02x", (unsigned char)p[name + (size_t)b]);
                return;
            }
            p += name + desc;
        }
    }
}

static int add_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    json_t *libraries = arg;
    char id[17], *real;
    (void)size;
    const char *base = strrchr(info->dlpi_name, '/');
    if (!base) /* the program itself, the kernel's vdso */
        return 0;
    build_id(info, id);
    real = realpath(info->dlpi_name, NULL);
    const char *file = real ? strrchr(real, '/') : NULL;
    char *value = mu_format("%s %s", file ? file + 1 : base + 1, id);
    json_object_set_new(libraries, base + 1, json_string(value));
    free(value);
    free(real);
    return 0;
}

json_t *mu_probe_libraries(void)
{
    json_t *libraries = json_object();
    dl_iterate_phdr(add_library, libraries);
    return libraries;
}

json_t *mu_probe_daemon(const json_t *ask)
{
    const char *path = json_string_value(json_object_get(ask, "daemon"));
    if (!path || access(path, X_OK) != 0)
        return mu_probe_state("error", path ? strerror(errno) : "no path");
    return mu_probe_state("ok", NULL);
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

static json_t *limit_of(int which)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)which, &limit) != 0)
        return json_null();
    return json_integer(limit.rlim_cur == RLIM_INFINITY ? -1 : (json_int_t)limit.rlim_cur);
}

/* CAP_IPC_LOCK: the limit of locked memory does not bind this process; in a user namespace it may all the
 * same, which only a registration shows (ibverbs.h). */
static bool may_lock(const char *proc)
{
    char path[4096], line[256];
    unsigned long long effective = 0;
    snprintf(path, sizeof path, "%s/self/status", proc);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "CapEff: %llx", &effective) == 1)
            break;
    fclose(file);
    return (effective >> CAP_IPC_LOCK & 1) != 0;
}

json_t *mu_probe_resources(const json_t *ask)
{
    const char *proc = mu_probe_path(ask, "proc", "/proc");
    cgroup_t group = look_at_groups(proc, mu_probe_path(ask, "sys", "/sys"));
    cpu_set_t set;
    struct statvfs shm;
    int64_t memory = memory_available(proc);
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
    if (group.cores > 0 && (double)cores > group.cores)
        cores = group.cores < 1 ? 1 : (int)group.cores;
    if (memory >= 0 && group.memory_left < memory)
        memory = group.memory_left;
    json_t *seen = json_pack("{s:i, s:I, s:o, s:o, s:o}", "cores", cores, "memory", (json_int_t)memory,
                             "nofile", limit_of(RLIMIT_NOFILE), "memlock", limit_of(RLIMIT_MEMLOCK), "nproc",
                             limit_of(RLIMIT_NPROC));
    json_object_set_new(seen, "ipc_lock", json_boolean(may_lock(proc)));
    bool has_shm = statvfs(mu_probe_path(ask, "shm", "/dev/shm"), &shm) == 0;
    json_object_set_new(seen, "shm",
                        json_integer(has_shm ? (json_int_t)(shm.f_bavail * shm.f_frsize) : (json_int_t)-1));
    return seen;
}
