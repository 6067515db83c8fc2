/* The checks themselves, apart from devices. Each is a few lines: look at every host's facts, add findings.
 * What is not in the facts, or is -1, could not be observed, and that is a finding too. */
#include "launcher/preflight/preflight_internal.h"
#include "common/ready_text.h"
#include "common/buf.h"
#include "common/num.h"

#include <inttypes.h>

#define CLOCK_WARN     1.0
#define CLOCK_FAIL     60.0 /* certificates, munge and file times stop making sense */
#define INODES_WANTED  1024
#define SHM_A_SLOT     (4 << 20) /* what Open MPI's shared memory transport takes, measured */
#define FILES_ANYWHERE 1024

static const char *text_at(const json_t *facts, const char *path)
{
    return json_string_value(mu_judge_at(facts, path));
}

int mu_judge_slots(const mu_judge_t *judge, int host)
{
    int slots = judge->hosts->host[host].slots;
    if (slots > 0)
        return slots;
    return judge->report->gpus[host] > 0 ? judge->report->gpus[host] : 1;
}

/* ---- programs and libraries ---- */

/* Libraries whose difference changes what ranks say to each other, or their numbers. */
static bool must_agree(const char *soname)
{
    static const char *const prefixes[] = {"libmpi",  "libopen-", "libpmix", "libprrte",  "libhdf5",
                                           "libdnnl", "libnccl",  "libcud",  "libcublas", NULL};
    for (const char *const *p = prefixes; *p; p++)
        if (strncmp(soname, *p, strlen(*p)) == 0)
            return true;
    return false;
}

static void judge_library(mu_judge_t *judge, const char *soname)
{
    int n = judge->hosts->count;
    const char **value = mu_calloc((size_t)n, sizeof *value);
    for (int i = 0; i < n; i++) {
        const char *its =
            json_string_value(json_object_get(mu_judge_at(judge->facts[i], "libraries"), soname));
        value[i] = its ? its : judge->facts[i] ? "not loaded" : NULL;
    }
    mu_judge_others(judge, "versions.library", value, must_agree(soname),
                    "install the same packages on every host");
    free(value);
}

static void judge_versions(mu_judge_t *judge)
{
    json_t *names = json_object();
    const char *soname;
    json_t *value;
    mu_judge_same(judge, "versions.machine", "versions.machine", true, "use hosts of one architecture");
    mu_judge_same(judge, "versions.mpi", "versions.mpi", true, "install the same MPI on every host");
    for (int i = 0; i < judge->hosts->count; i++) {
        json_t *libraries = json_object_get(judge->facts[i], "libraries");
        if (judge->facts[i] && !json_is_object(libraries))
            mu_judge_find(judge, i, true, "versions.library", mu_strdup("unknown"), mu_strdup("a list"),
                          "try muster-worker --probe there");
        json_object_foreach(libraries, soname, value) json_object_set(names, soname, json_true());
    }
    json_object_foreach(names, soname, value) judge_library(judge, soname);
    json_decref(names);
}

/* A part of the facts whose state must be "ok". */
static void judge_state(mu_judge_t *judge, const char *part, const char *check, const bool *asked,
                        const char *wanted, const char *fix)
{
    for (int i = 0; i < judge->hosts->count; i++) {
        const json_t *its = json_object_get(judge->facts[i], part);
        const char *state = text_at(its, "state"), *detail = text_at(its, "detail");
        if (!judge->facts[i] || (asked && !asked[i]) || (state && strcmp(state, "ok") == 0))
            continue;
        mu_judge_find(judge, i, true, check, mu_judge_shown(detail ? detail : state), mu_strdup(wanted), fix);
    }
}

/* ---- storage ---- */

/* The volume that this machine sees, as a host that sees it too describes it. */
static const char *right_mount(const mu_judge_t *judge)
{
    for (int i = 0; i < judge->hosts->count; i++) {
        const json_t *storage = json_object_get(judge->facts[i], "storage");
        const char *cookie = text_at(storage, "cookie");
        if (cookie && strcmp(cookie, judge->cookie) == 0)
            return text_at(storage, "mount");
    }
    return NULL;
}

static void judge_volume(mu_judge_t *judge, int i, const json_t *storage)
{
    const char *step = text_at(storage, "step"), *cookie = text_at(storage, "cookie");
    if (cookie ? strcmp(cookie, judge->cookie) == 0 : !step || strcmp(step, "cookie") != 0)
        return; /* the same volume, or a failure before it, which has its own finding */
    const char *right = right_mount(judge);
    char *seen = mu_judge_shown(text_at(storage, "mount")),
         *wanted = mu_judge_shown(right ? right : "no host sees it");
    mu_judge_find(judge, i, true, "storage.same_volume", mu_format("sees %s", seen),
                  mu_format("this machine's volume (%s)", wanted),
                  "mount the run directory's volume at the same path on that host");
    free(seen);
    free(wanted);
}

static void judge_storage_of(mu_judge_t *judge, int i)
{
    const json_t *storage = json_object_get(judge->facts[i], "storage");
    const char *state = text_at(storage, "state"), *step = text_at(storage, "step");
    const char *detail = text_at(storage, "detail");
    char human[2][32];
    judge_volume(judge, i, storage);
    if (!state || (strcmp(state, "ok") != 0 && (!step || strcmp(step, "cookie") != 0))) {
        bool hung = json_is_true(json_object_get(storage, "timeout"));
        char *safe = mu_judge_shown(detail);
        mu_judge_find(judge, i, true, hung ? "storage.answers" : "storage.write",
                      step && !hung ? mu_format("%s fails: %s", step, safe) : mu_strdup(safe),
                      mu_format("create, write, fsync, rename and unlink in %s", judge->want->run_dir),
                      hung ? "look at the mount there: it does not answer"
                           : "give the user of the ranks write access");
        free(safe);
        if (hung)
            return;
    }
    json_int_t room = json_integer_value(json_object_get(storage, "free"));
    if (judge->want->checkpoint_bytes && (uint64_t)room / 2 < judge->want->checkpoint_bytes)
        mu_judge_find(judge, i, true, "storage.room",
                      mu_format("%s free", mu_human_bytes((uint64_t)room, human[0], sizeof human[0])),
                      mu_format("room for two checkpoints of %s",
                                mu_human_bytes(judge->want->checkpoint_bytes, human[1], sizeof human[1])),
                      "free space, or choose another run directory");
    json_int_t inodes = json_integer_value(json_object_get(storage, "inodes"));
    if (inodes >= 0 && inodes < INODES_WANTED)
        mu_judge_find(judge, i, true, "storage.inodes",
                      mu_format("%" JSON_INTEGER_FORMAT " files free", inodes),
                      mu_format("%d", INODES_WANTED), "remove files, or choose another run directory");
}

/* The run's own folder in /tmp; its name is one for all hosts. */
static void judge_tmp_of(mu_judge_t *judge, int i)
{
    const json_t *tmp = json_object_get(judge->facts[i], "tmp");
    const char *state = text_at(tmp, "state"), *step = text_at(tmp, "step");
    if (state && strcmp(state, "ok") == 0)
        return;
    char *safe = mu_judge_shown(text_at(tmp, "detail"));
    mu_judge_find(judge, i, true, "tmp.write", step ? mu_format("%s fails: %s", step, safe) : mu_strdup(safe),
                  mu_strdup("a private folder in /tmp and 1 MiB in it"),
                  "free space in /tmp there, or make it writable: mpirun's daemon needs it");
    free(safe);
}

/* ---- memory, limits, cores, clock ---- */

static void at_least(mu_judge_t *judge, int i, const char *check, const char *path, uint64_t wanted,
                     bool is_size, const char *fix)
{
    const json_t *value = mu_judge_at(judge->facts[i], path);
    json_int_t found = json_is_integer(value) ? json_integer_value(value) : -1;
    bool unlimited = found == -1 && strncmp(check, "limits.", 7) == 0 && json_is_integer(value);
    char human[2][32];
    if (unlimited || (found >= 0 && (uint64_t)found >= wanted))
        return;
    char *seen = found < 0 ? mu_strdup("unknown")
                 : is_size ? mu_strdup(mu_human_bytes((uint64_t)found, human[0], sizeof human[0]))
                           : mu_format("%" JSON_INTEGER_FORMAT, found);
    char *want = is_size ? mu_format("%s for %d slots", mu_human_bytes(wanted, human[1], sizeof human[1]),
                                     mu_judge_slots(judge, i))
                         : mu_format("%" PRIu64, wanted);
    mu_judge_find(judge, i, true, check, seen, want, fix);
}

static void judge_resources_of(mu_judge_t *judge, int i)
{
    const mu_preflight_want_t *want = judge->want;
    uint64_t slots = (uint64_t)mu_judge_slots(judge, i);
    if (want->memory_per_slot)
        at_least(judge, i, "memory.available", "resources.memory", slots * want->memory_per_slot, true,
                 "give the host fewer slots, or a larger memory limit");
    at_least(judge, i, "memory.shm", "resources.shm", slots * (want->shm_per_slot + SHM_A_SLOT), true,
             "enlarge /dev/shm (in Kubernetes: an emptyDir with medium Memory)");
    at_least(judge, i, "limits.nofile", "resources.nofile",
             FILES_ANYWHERE + 2 * (uint64_t)mu_hosts_slots(judge->hosts), false,
             "raise the limit of open files there (limits.conf, or the container's)");
    const json_t *cores = mu_judge_at(judge->facts[i], "resources.cores");
    if (!json_is_integer(cores) || json_integer_value(cores) < 1)
        mu_judge_find(judge, i, true, "cores", mu_strdup("unknown"), mu_strdup("a number"),
                      "try muster-worker --probe there");
    else if ((uint64_t)json_integer_value(cores) < slots)
        mu_judge_find(judge, i, false, "cores",
                      mu_format("%" JSON_INTEGER_FORMAT " cores", json_integer_value(cores)),
                      mu_format("one for each of %" PRIu64 " slots", slots),
                      "give it fewer slots; the run goes on, slowly");
}

static void judge_clock_of(mu_judge_t *judge, int i)
{
    const json_t *value = json_object_get(judge->facts[i], "clock_offset");
    double offset = json_number_value(value), size = offset < 0 ? -offset : offset;
    if (json_is_number(value) && size <= CLOCK_WARN)
        return;
    mu_judge_find(judge, i, !json_is_number(value) || size > CLOCK_FAIL, "clock.offset",
                  json_is_number(value) ? mu_format("%+.1f s", offset) : mu_strdup("unknown"),
                  mu_format("within %g s of this machine's", CLOCK_WARN),
                  "set the clock there (chrony, ntpd)");
}

void mu_preflight_judge(mu_judge_t *judge)
{
    int n = judge->hosts->count;
    for (int i = 0; i < n; i++) {
        const json_t *gpu = json_object_get(judge->facts[i], "gpu");
        judge->report->gpus[i] =
            judge->want->gpus == MU_NEED_NO ? 0 : (int)json_array_size(json_object_get(gpu, "devices"));
        if (judge->missing[i])
            mu_judge_find(judge, i, true, "probe.answer", mu_judge_shown(judge->missing[i]),
                          mu_strdup("the facts of that host"),
                          "log in there and start muster-worker --probe by hand");
    }
    judge_versions(judge);
    judge->report->checks = 4;
    if (judge->asked_daemon) {
        judge_state(judge, "daemon", "mpi.daemon", NULL, "mpirun's daemon at the same path as here",
                    "install the same MPI at the same path on every host");
        judge->report->checks++;
    }
    judge_state(judge, "back", "net.back", judge->asked_back, "a connection from the host to this machine",
                "open this machine's firewall for the hosts, or let them route to it");
    judge->report->checks++;
    for (int i = 0; i < n; i++) {
        if (!judge->facts[i])
            continue;
        if (judge->want->run_dir)
            judge_storage_of(judge, i);
        if (judge->want->token)
            judge_tmp_of(judge, i);
        judge_resources_of(judge, i);
        judge_clock_of(judge, i);
    }
    judge->report->checks += 4 + (judge->want->memory_per_slot != 0) + (judge->want->token != NULL);
    if (judge->want->run_dir)
        judge->report->checks += 4 + (judge->want->checkpoint_bytes != 0);
    mu_preflight_judge_devices(judge);
    if (judge->mesh)
        mu_preflight_mesh_judge(judge->mesh, judge);
    mu_judge_fold(judge->report);
}
