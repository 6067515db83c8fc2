/* What the host gives a rank: programs, libraries, cores, memory, limits. */
#include "worker/probe/probe_internal.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/machine.h"

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
    mu_machine_room_t room = mu_machine_room(proc, mu_probe_path(ask, "sys", "/sys"));
    cpu_set_t set;
    struct statvfs shm;
    int64_t memory = room.memory;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
    if (room.cores > 0 && (double)cores > room.cores)
        cores = room.cores < 1 ? 1 : (int)room.cores;
    json_t *seen = json_pack("{s:i, s:I, s:o, s:o, s:o}", "cores", cores, "memory", (json_int_t)memory,
                             "nofile", limit_of(RLIMIT_NOFILE), "memlock", limit_of(RLIMIT_MEMLOCK), "nproc",
                             limit_of(RLIMIT_NPROC));
    json_object_set_new(seen, "ipc_lock", json_boolean(may_lock(proc)));
    bool has_shm = statvfs(mu_probe_path(ask, "shm", "/dev/shm"), &shm) == 0;
    json_object_set_new(seen, "shm",
                        json_integer(has_shm ? (json_int_t)(shm.f_bavail * shm.f_frsize) : (json_int_t)-1));
    return seen;
}
