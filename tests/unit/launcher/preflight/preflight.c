/*
 * Preflight: every check is made to fail once, by facts that differ from good ones in one place; the probe's
 * own eyes on stand-ins of NVML, sysfs and storage; and one whole exchange with this machine's probe.
 */
#include "launcher/preflight/preflight_internal.h"
#include "launcher/mpi/ports.h"
#include "launcher/preflight/preflight_back.h"
#include "worker/probe/probe.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/nccl_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>
#include <unistd.h>

static char dir[] = "/tmp/muster-preflight-XXXXXX";
static char said[65536];

static void keep(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", line);
}

/* ---- the judge ---- */

#define COOKIE "00112233445566778899aabbccddeeff"

static const char good[] =
    "{\"time\": 1.0, \"sent\": 1.0, \"clock_offset\": 0.01,"
    " \"versions\": {\"muster\": \"1\", \"mpi\": \"Open MPI v4.1.4\", \"machine\": \"x86_64\"},"
    " \"libraries\": {\"libmpi.so.40\": \"libmpi.so.40.30.4 aa\", \"libc.so.6\": \"libc.so.6 bb\"},"
    " \"daemon\": {\"state\": \"ok\"}, \"back\": {\"state\": \"ok\"},"
    " \"resources\": {\"cores\": 64, \"memory\": 549755813888, \"shm\": 34359738368, \"nofile\": 65536,"
    "                 \"memlock\": -1},"
    " \"storage\": {\"state\": \"ok\", \"mount\": \"nfs4 filer:/vol3 at /ckpt\", \"cookie\": \"" COOKIE "\","
    "               \"free\": 1099511627776, \"inodes\": 1000000},"
    " \"gpu\": {\"state\": \"ok\", \"driver\": \"570.1\", \"devices\": ["
    "   {\"index\": 0, \"uuid\": \"GPU-4f2a9c31-1\", \"name\": \"H\", \"pci\": \"0000:1a:00.0\", \"memory\": "
    "80, \"used\": 0,"
    "    \"ecc_uncorrected\": 0, \"remap_pending\": false, \"remap_failed\": false, \"processes\": []},"
    "   {\"index\": 1, \"uuid\": \"GPU-5\", \"name\": \"H\", \"memory\": 80, \"used\": 0, "
    "\"ecc_uncorrected\": 0,"
    "    \"remap_pending\": false, \"remap_failed\": false, \"processes\": []}]},"
    " \"ibverbs\": {\"state\": \"ok\", \"hca\": \"mlx5_0:1\", \"gpu_direct\": \"DMA-BUF\", \"ports\": ["
    "   {\"name\": \"mlx5_0:1\", \"state\": \"ACTIVE\", \"rate\": \"400\", \"link\": \"InfiniBand\", "
    "\"used\": true,"
    "    \"gid\": \"fe80:0000:0000:0000:0000:0000:0000:0001\", \"gid_index\": 0, \"trouble\": null},"
    "   {\"name\": \"mlx5_1:1\", \"state\": \"ACTIVE\", \"rate\": \"10\", \"link\": \"Ethernet\", \"used\": "
    "false}],"
    "  \"gpus\": {\"0000:1a:00.0\": {\"nearest\": \"mlx5_0\", \"distance\": \"same switch\"}}}}";

static mu_preflight_want_t usual_want(void)
{
    return (mu_preflight_want_t){.run_dir = "/ckpt/run",
                                 .checkpoint_bytes = 1 << 30,
                                 .memory_per_slot = 1 << 30,
                                 .gpus = MU_NEED_AUTO};
}

/* Sets the value at "storage.cookie" or "gpu.devices.0.used" to a JSON text; an empty one removes it. */
static void set_at(json_t *facts, const char *path, const char *value)
{
    char key[64];
    json_t *at = facts, *new = *value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    for (;;) {
        size_t n = strcspn(path, ".");
        bool last = path[n] == '\0';
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        if (last && new)
            assert_int_equal(json_object_set_new(at, key, new), 0);
        else if (last)
            assert_int_equal(json_object_del(at, key), 0);
        if (last)
            return;
        at = json_is_array(at) ? json_array_get(at, (size_t)(key[0] - '0')) : json_object_get(at, key);
        assert_non_null(at);
        path += n + 1;
    }
}

static int findings_of(const mu_preflight_report_t *report, const char *check)
{
    int n = 0;
    for (int i = 0; i < report->count; i++)
        n += strcmp(report->finding[i].check, check) == 0;
    return n;
}

static const char *user_hca, *user_gid;

/* Judges three hosts h1, h2, h3 with two slots each; h3's facts have `value` at `path`. */
static mu_preflight_report_t *judge(const char *path, const char *value, const mu_preflight_want_t *want,
                                    const char *missing)
{
    static mu_hosts_t *hosts;
    const bool asked_back[3] = {true, true, true};
    mu_preflight_report_t *report = mu_calloc(1, sizeof *report);
    char *why[3] = {NULL, NULL, missing ? mu_strdup(missing) : NULL};
    mu_hosts_free(hosts);
    hosts = NULL;
    assert_int_equal(mu_hosts_parse_list("h1:2,h2:2,h3:2", &hosts), MU_OK);
    report->hosts = hosts;
    report->looked_at = 3;
    report->gpus = mu_calloc(3, sizeof *report->gpus);
    report->facts = mu_calloc(3, sizeof *report->facts);
    report->gid = user_gid ? mu_strdup(user_gid) : NULL;
    for (int i = 0; i < 3 - (missing != NULL); i++)
        assert_non_null(report->facts[i] = json_loads(good, 0, NULL));
    if (path)
        set_at(report->facts[2], path, value);
    mu_judge_t all = {.hosts = hosts,
                      .want = want,
                      .facts = report->facts,
                      .missing = why,
                      .cookie = COOKIE,
                      .asked_back = asked_back,
                      .asked_daemon = true,
                      .hca = user_hca,
                      .without_rdma = mu_nccl_env_without_rdma(),
                      .report = report};
    mu_preflight_judge(&all);
    free(why[2]);
    return report;
}

static void good_hosts_pass(void **state)
{
    (void)state;
    mu_preflight_want_t want = usual_want();
    mu_preflight_report_t *report = judge(NULL, NULL, &want, NULL);
    if (report->count)
        fail_msg("%s: %s", report->finding[0].check, report->finding[0].found);
    assert_true(report->checks >= 20);
    assert_int_equal(report->gpus[0], 2);
    assert_true(mu_preflight_fit(report, 2));
    mu_preflight_free(report);
}

static void each_check_fails(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *check;
        bool fatal;
        const char *found, *wanted;
    } cases[] = {
        {"versions.mpi", "\"Open MPI v5.0.7\"", "versions.mpi", true, "Open MPI v5.0.7",
         "v4.1.4, as on 2 of 3"},
        {"versions.mpi", "", "versions.mpi", true, "unknown", "the same"},
        {"versions.machine", "\"aarch64\"", "versions.machine", true, "aarch64", "x86_64"},
        {"libraries", "", "versions.library", true, "unknown", "a list"},
        {"libraries", "{\"libc.so.6\": \"libc.so.6 bb\"}", "versions.library", true, "not loaded",
         "libmpi.so.40.30.4"},
        {"libraries", "{\"libmpi.so.40\": \"libmpi.so.40.30.4 aa\", \"libc.so.6\": \"libc.so.6 zz\"}",
         "versions.library", false, "libc.so.6 zz", "libc.so.6 bb"},
        {"daemon", "{\"state\": \"error\", \"detail\": \"No such file or directory\"}", "mpi.daemon", true,
         "No such file", "same path"},
        {"daemon", "", "mpi.daemon", true, "unknown", "same path"},
        {"back", "{\"state\": \"error\", \"detail\": \"Connection timed out\"}", "net.back", true,
         "timed out", "connection"},
        {"back", "", "net.back", true, "unknown", "connection"},
        {"storage",
         "{\"state\": \"error\", \"step\": \"cookie\", \"detail\": \"No such file or directory\","
         " \"mount\": \"ext4 /dev/sda1 at /\", \"free\": 1099511627776, \"inodes\": 5000}",
         "storage.same_volume", true, "sees ext4 /dev/sda1 at /", "filer:/vol3"},
        {"storage.cookie", "\"ffffffffffffffffffffffffffffffff\"", "storage.same_volume", true, "sees nfs4",
         "this machine's volume"},
        {"storage.state", "\"error\"", "storage.write", true, "", "rename"},
        {"storage", "", "storage.write", true, "unknown", "rename"},
        {"storage", "{\"state\": \"error\", \"timeout\": true, \"detail\": \"no answer in 5.0 s\"}",
         "storage.answers", true, "no answer in 5.0 s", "create"},
        {"storage.free", "1073741824", "storage.room", true, "1.00 GiB free", "two checkpoints of 1.00 GiB"},
        {"storage.free", "", "storage.room", true, "", "two"},
        {"storage.inodes", "5", "storage.inodes", true, "5 files free", "1024"},
        {"resources.memory", "1073741824", "memory.available", true, "1.00 GiB", "2.00 GiB for 2 slots"},
        {"resources.memory", "-1", "memory.available", true, "unknown", "2.00 GiB"},
        {"resources.shm", "65536", "memory.shm", true, "64.00 KiB", "8.00 MiB"},
        {"resources.nofile", "256", "limits.nofile", true, "256", "1036"},
        {"resources.nofile", "", "limits.nofile", true, "unknown", "1036"},
        {"resources.cores", "1", "cores", false, "1 cores", "2 slots"},
        {"resources.cores", "-1", "cores", true, "unknown", "number"},
        {"resources.memlock", "8388608", "limits.memlock", true, "8388608 bytes", "unlimited"},
        {"clock_offset", "-2.5", "clock.offset", false, "-2.5 s", "within 1 s"},
        {"clock_offset", "61.0", "clock.offset", true, "+61.0 s", "within 1 s"},
        {"clock_offset", "", "clock.offset", true, "unknown", "within 1 s"},
        {"gpu", "{\"state\": \"absent\", \"detail\": \"libnvidia-ml.so.1 is not there\"}", "gpu.driver", true,
         "absent: libnvidia-ml.so.1", "on other hosts"},
        {"gpu", "{\"state\": \"error\", \"detail\": \"no answer in 5.0 s\"}", "gpu.driver", true, "no answer",
         "GPUs"},
        {"gpu", "", "gpu.driver", true, "unknown", "GPUs"},
        {"gpu.devices", "[]", "gpu.count", true, "0 GPUs", "2, one for each slot"},
        {"gpu.driver", "\"535.2\"", "gpu.driver_version", true, "535.2", "570.1"},
        {"gpu.cuda", "\"13.0.88\"", "gpu.driver_old", true, "570.1", "580 or newer"},
        {"gpu.devices.0.ecc_uncorrected", "3", "gpu.health", true,
         "GPU 0 (GPU-4f2a9c31): 3 uncorrectable memory errors", "none"},
        {"gpu.devices.1.remap_pending", "true", "gpu.health", true,
         "GPU 1 (GPU-5): 0 uncorrectable memory errors, row "
         "remap pending",
         "none"},
        {"gpu.devices.1.error", "15", "gpu.health", true, "NVML error 15", "answers"},
        {"gpu.devices.0.used", "4294967296", "gpu.busy", true, "4.00 GiB in use", "idle"},
        {"gpu.devices.0.processes", "[41, 42]", "gpu.busy", true, "by process 41, 42", "idle"},
        {"ibverbs", "{\"state\": \"absent\"}", "net.ports", true, "no active port",
         "1 port at 400 InfiniBand, as on 2 of 3"},
        {"ibverbs.ports.0.used", "false", "net.ports", true, "no active port", "1 port"},
        {"ibverbs.ports.1.used", "true", "net.ports", true, "2 ports at 400 and 10 InfiniBand and Ethernet",
         "1 port"},
        {"ibverbs.ports.0.rate", "\"200\"", "net.ports", true, "1 port at 200", "at 400"},
        {"ibverbs.ports.0.link", "\"Ethernet\"", "net.ports", true, "400 Ethernet", "400 InfiniBand"},
        {"ibverbs.ports.0.trouble", "{\"cause\": \"missing\", \"detail\": \"/dev/x is not there\"}",
         "net.device", true, "mlx5_0:1: /dev/x is not there", "opens"},
        {"ibverbs.ports.0.gid", "\"fe80:0000:0000:0001:0000:0000:0000:0001\"", "net.subnet", false,
         "fe80:0000:0000:0001", "fe80:0000:0000:0000, as on 2 of 3"},
        {"ibverbs.gpu_direct", "\"\"", "gpu.direct", false, "neither", "host's memory"},
        {"ibverbs.gpus", "{\"0000:1a:00.0\": {\"nearest\": \"mlx5_0\", \"distance\": \"across sockets\"}}",
         "gpu.nic", false, "GPU 0 (GPU-4f2a9c31): the nearest is mlx5_0, across sockets", "own socket"},
        {"ibverbs.state", "\"error\"", "net.ibverbs", true, "unknown", "library"},
        {"ibverbs", "", "net.ibverbs", true, "unknown", "devices that answer"},
    };
    mu_preflight_want_t want = usual_want();
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        mu_preflight_report_t *report = judge(cases[c].path, cases[c].value, &want, NULL);
        bool found = false;
        for (int i = 0; i < report->count; i++) {
            const mu_finding_t *f = &report->finding[i];
            assert_int_equal(f->host, 2); /* never a host that is fine */
            assert_true(strlen(f->fix) > 0);
            found |= strcmp(f->check, cases[c].check) == 0 && f->fatal == cases[c].fatal &&
                     strstr(f->found, cases[c].found) && strstr(f->wanted, cases[c].wanted);
        }
        if (!found)
            fail_msg("%s = %s: no %s; first of %d: %s: %s; %s", cases[c].path, cases[c].value, cases[c].check,
                     report->count, report->count ? report->finding[0].check : "-",
                     report->count ? report->finding[0].found : "-",
                     report->count ? report->finding[0].wanted : "-");
        assert_int_equal(mu_preflight_fit(report, 2), report->fatal == 0);
        assert_true(mu_preflight_fit(report, 1));
        mu_preflight_free(report);
    }
}

static void hosts_without_facts_fail(void **state)
{
    (void)state;
    mu_preflight_want_t want = usual_want();
    mu_preflight_report_t *report = judge(NULL, NULL, &want, "no answer in 30 s");
    assert_int_equal(report->fatal, 1);
    assert_string_equal(report->finding[0].check, "probe.answer");
    assert_string_equal(report->finding[0].found, "no answer in 30 s");
    assert_false(mu_preflight_fit(report, 2));
    mu_preflight_free(report);
}

static void gpus_by_need(void **state)
{
    (void)state;
    const char *absent = "{\"state\": \"absent\", \"detail\": \"x\"}";
    mu_preflight_want_t want = usual_want();
    want.gpus = MU_NEED_NO; /* a run on CPUs does not mind */
    mu_preflight_report_t *report = judge("gpu", absent, &want, NULL);
    assert_int_equal(report->count, 0);
    assert_int_equal(report->gpus[0], 0);
    mu_preflight_free(report);
    want.gpus = MU_NEED_YES;
    report = judge("gpu", absent, &want, NULL);
    assert_int_equal(report->fatal, 1);
    mu_preflight_free(report);
}

/* CUDA 12 runs with driver 525 and later, CUDA 13 with 580 and later; a muster without CUDA asks for none. */
static void drivers_by_toolkit(void **state)
{
    (void)state;
    static const struct {
        const char *cuda, *driver, *wanted; /* NULL: nothing is found */
    } cases[] = {
        {"13.0.88", "580.65.06", NULL},
        {"13.0.88", "590.1", NULL},
        {"13.0.88", "575.57.08", "580 or newer, for this muster's CUDA 13.0.88"},
        {"13.1.80", "535.288.01", "580 or newer, for this muster's CUDA 13.1.80"},
        {"12.4.131", "525.60.13", NULL},
        {"12.9.86", "570.86.10", NULL},
        {"12.4.131", "520.61.05", "525 or newer, for this muster's CUDA 12.4.131"},
        {"", "470.256.02", NULL},
    };
    mu_preflight_want_t want = usual_want();
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char gpu[256];
        snprintf(gpu, sizeof gpu,
                 "{\"state\": \"ok\", \"driver\": \"%s\", \"cuda\": \"%s\", \"devices\": []}",
                 cases[c].driver, cases[c].cuda);
        mu_preflight_report_t *report = judge("gpu", gpu, &want, NULL);
        assert_int_equal(findings_of(report, "gpu.driver_old"), cases[c].wanted != NULL);
        for (int i = 0; i < report->count; i++)
            if (strcmp(report->finding[i].check, "gpu.driver_old") == 0) {
                assert_int_equal(report->finding[i].host, 2);
                assert_true(report->finding[i].fatal);
                assert_string_equal(report->finding[i].wanted, cases[c].wanted);
                assert_non_null(strstr(report->finding[i].found, cases[c].driver));
            }
        mu_preflight_free(report);
    }
}

/* The third host's ports are RoCE without a GID: only the user's own index helps. */
static void roce_needs_an_address(void **state)
{
    (void)state;
    mu_preflight_want_t want = usual_want();
    const char *port =
        "[{\"name\": \"mlx5_0:1\", \"state\": \"ACTIVE\", \"rate\": \"400\", \"link\": \"Ethernet\","
        " \"used\": true, \"trouble\": null}]";
    mu_preflight_report_t *report = judge("ibverbs.ports", port, &want, NULL);
    assert_int_equal(findings_of(report, "net.gid"), 1);
    mu_preflight_free(report);
    user_gid = "NCCL_IB_GID_INDEX=1";
    report = judge("ibverbs.ports", port, &want, NULL);
    assert_int_equal(findings_of(report, "net.gid"), 0);
    said[0] = '\0';
    mu_preflight_print(report);
    assert_non_null(strstr(said, "NCCL_IB_HCA=mlx5_0:1, NCCL_IB_GID_INDEX=1, "));
    user_gid = NULL;
    mu_preflight_free(report);
}

static void rdma_by_need(void **state)
{
    (void)state;
    const char *closed = "{\"cause\": \"memlock\", \"detail\": \"x\"}";
    mu_preflight_want_t want = usual_want();
    want.rdma = MU_NEED_NO; /* TCP is asked for */
    mu_preflight_report_t *report = judge("ibverbs.ports.0.trouble", closed, &want, NULL);
    assert_int_equal(report->count, 0);
    assert_false(report->rdma);
    mu_preflight_free(report);
    want.rdma = MU_NEED_AUTO;
    want.gpus = MU_NEED_NO; /* nothing but NCCL uses it */
    report = judge("ibverbs.ports.0.trouble", closed, &want, NULL);
    assert_int_equal(report->count, 0);
    mu_preflight_free(report);

    static const char *const without[][2] = {{"NCCL_IB_DISABLE", "1"}, {"NCCL_NET", "socket"}};
    for (int i = 0; i < 2; i++) { /* NCCL is set to take TCP, but not muster to take RDMA */
        want = usual_want();
        setenv(without[i][0], without[i][1], 1);
        report = judge("ibverbs.ports.0.trouble", closed, &want, NULL);
        assert_int_equal(report->count, 0);
        assert_false(report->rdma);
        mu_preflight_free(report);
        want.rdma = MU_NEED_YES;
        report = judge("ibverbs.ports.0.trouble", closed, &want, NULL);
        assert_int_equal(findings_of(report, "net.device"), 1);
        mu_preflight_free(report);
        unsetenv(without[i][0]);
    }
    setenv("NCCL_IB_DISABLE", "0", 1);
    assert_false(mu_nccl_env_without_rdma());
    unsetenv("NCCL_IB_DISABLE");

    want = usual_want();
    report = judge("resources",
                   "{\"cores\": 64, \"memory\": 549755813888, \"shm\": 34359738368, \"nofile\": 65536, "
                   "\"memlock\": 65536, \"ipc_lock\": true}",
                   &want, NULL);
    assert_int_equal(report->count, 0); /* the limit does not bind there */
    mu_preflight_free(report);
    report = judge("ibverbs.ports", "[]", &want, NULL);
    assert_int_equal(findings_of(report, "net.ports"), 1); /* unlike the others */
    mu_preflight_free(report);
    want.rdma = MU_NEED_YES;
    report = judge("ibverbs.ports", "[]", &want, NULL);
    assert_int_equal(findings_of(report, "net.ports"), 2); /* and none at all */
    mu_preflight_free(report);
    user_hca = "mlx9";
    report = judge("ibverbs.ports.0.used", "false", &want, NULL);
    assert_int_equal(findings_of(report, "net.hca"), 1);
    assert_non_null(strstr(report->finding[0].found, "NCCL_IB_HCA=mlx9 names no active port"));
    user_hca = NULL;
    mu_preflight_free(report);
}

/* What NCCL will get is reported once for all hosts that are alike. */
static void rdma_is_told(void **state)
{
    (void)state;
    mu_preflight_want_t want = usual_want();
    mu_preflight_report_t *report = judge("ibverbs.gid_index", "3", &want, NULL);
    said[0] = '\0';
    mu_preflight_print(report);
    assert_non_null(strstr(
        said, "RDMA on h1, h2: 1 port at 400 InfiniBand, NCCL_IB_HCA=mlx5_0:1, GPUDirect by DMA-BUF\n"));
    assert_non_null(strstr(said,
                           "RDMA on h3: 1 port at 400 InfiniBand, NCCL_IB_HCA=mlx5_0:1, NCCL_IB_GID_INDEX=3, "
                           "GPUDirect by DMA-BUF\n"));
    mu_preflight_free(report);
    want.rdma = MU_NEED_NO;
    report = judge("ibverbs.gpu_direct", "\"\"", &want, NULL);
    said[0] = '\0';
    mu_preflight_print(report);
    assert_non_null(strstr(said, "RDMA (not used) on h1, h2: "));
    assert_non_null(strstr(said, ", no GPUDirect\n"));
    mu_preflight_free(report);
    report = judge("ibverbs", "{\"state\": \"absent\"}", &want, NULL);
    said[0] = '\0';
    mu_preflight_print(report);
    assert_null(strstr(said, "h3"));
    mu_preflight_free(report);
}

/* Hostile facts: no escape reaches the terminal, groups are folded, the biggest first. */
static void report_reads_well(void **state)
{
    (void)state;
    mu_preflight_want_t want = usual_want();
    mu_preflight_report_t *report = judge("versions.mpi", "\"\\u001b[31mevil\\n\"", &want, NULL);
    for (int i = 0; i < 3; i++)
        mu_judge_find(&(mu_judge_t){.report = report}, i, true, "memory.shm", mu_strdup("64 KiB"),
                      mu_strdup("8 MiB"), "enlarge it");
    said[0] = '\0';
    mu_preflight_print(report);
    assert_null(strchr(said, '\x1b'));
    assert_non_null(strstr(said, "\\x1b[31mevil\\x0a"));
    assert_non_null(strstr(said, "NOT STARTED: 3 of 3 hosts failed preflight (exit 80"));
    const char *shm = strstr(
        said, "memory.shm           h1, h2, h3\n      found: 64 KiB; wanted: 8 MiB\n      fix: enlarge it");
    assert_non_null(shm);
    assert_true(shm < strstr(said, "versions.mpi"));
    json_t *json = mu_preflight_json(report);
    assert_int_equal(json_array_size(json_object_get(json, "findings")), 4);
    assert_int_equal(json_object_size(json_object_get(json, "facts")), 3);
    json_decref(json);
    mu_preflight_free(report);
}

/* What too few files make fail too is named with that, and no finding of its own on the screen. */
static void followers_are_folded(void **state)
{
    (void)state;
    mu_preflight_want_t want = usual_want();
    mu_preflight_report_t *report = judge("resources.nofile", "64", &want, NULL);
    mu_judge_t more = {.report = report};
    for (int host = 1; host < 3; host++) {
        mu_judge_find(&more, host, true, "net.mesh", mu_format("is not reached by h%d", host),
                      mu_strdup("all"), "x");
        mu_judge_find(&more, host, true, "net.mesh", mu_strdup("its login ended"), mu_strdup("its word"),
                      "x");
    }
    mu_judge_fold(report);
    said[0] = '\0';
    mu_preflight_print(report);
    assert_non_null(strstr(said, "and with it: net.mesh"));
    assert_null(strstr(said, "is not reached by h2"));
    assert_non_null(
        strstr(said, "is not reached by h1")); /* of a host with files enough: a cause of its own */
    json_t *json = mu_preflight_json(report), *finding;
    size_t i;
    json_array_foreach(json_object_get(json, "findings"), i, finding)
    {
        const char *after = json_string_value(json_object_get(finding, "after"));
        assert_int_equal(after != NULL, i > 2);
        assert_true(!after || strcmp(after, "limits.nofile") == 0);
    }
    json_decref(json);
    mu_preflight_free(report);
}

/* ---- the probe's eyes ---- */

static json_t *facts_for(const char *format, ...)
{
    mu_buf_t text = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&text, format, args);
    va_end(args);
    json_t *ask = json_loads(text.data, 0, NULL);
    assert_non_null(ask);
    json_t *facts = mu_probe_answer(ask);
    json_decref(ask);
    mu_buf_release(&text);
    return facts;
}

static const char *text_at(const json_t *facts, const char *path)
{
    const char *text = json_string_value(mu_judge_at(facts, path));
    return text ? text : "";
}

static void put(const char *name, const char *text)
{
    char *path = mu_path_join(dir, name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(mu_make_dirs(path, 0700), MU_OK);
    *slash = '/';
    assert_int_equal(mu_file_replace(path, text, strlen(text), 0600), MU_OK);
    free(path);
}

static void probe_sees_storage(void **state)
{
    (void)state;
    put("cookie", COOKIE);
    json_t *facts = facts_for("{\"storage\": {\"dir\": \"%s\", \"cookie\": \"cookie\"}}", dir);
    assert_string_equal(text_at(facts, "storage.state"), "ok");
    assert_string_equal(text_at(facts, "storage.cookie"), COOKIE);
    assert_non_null(strstr(text_at(facts, "storage.mount"), " at /"));
    assert_true(json_integer_value(mu_judge_at(facts, "storage.free")) > 0);
    json_decref(facts);

    facts = facts_for("{\"storage\": {\"dir\": \"%s\", \"cookie\": \"absent\"}}", dir);
    assert_string_equal(text_at(facts, "storage.state"), "error");
    assert_string_equal(text_at(facts, "storage.step"), "cookie");
    json_decref(facts);

    facts = facts_for("{\"storage\": {\"dir\": \"%s/absent\"}}", dir);
    assert_string_equal(text_at(facts, "storage.step"), "look");
    json_decref(facts);

    facts = facts_for("{\"storage\": {\"dir\": \"/proc\"}}"); /* nobody can write there */
    assert_string_equal(text_at(facts, "storage.step"), "create");
    json_decref(facts);

    facts = facts_for("{\"storage\": {\"dir\": \"%s\", \"cookie\": \"../x\"}}", dir);
    assert_string_equal(text_at(facts, "storage.step"), "question");
    json_decref(facts);
}

static void probe_sees_tmp(void **state)
{
    (void)state;
    json_t *facts = facts_for("{\"tmp\": {\"dir\": \"%s/own\"}}", dir);
    assert_string_equal(text_at(facts, "tmp.state"), "ok");
    json_decref(facts);
    char *own = mu_path_join(dir, "own");
    assert_int_not_equal(access(own, F_OK), 0); /* nothing is left */
    assert_int_equal(mkdir(own, 0755), 0);
    facts = facts_for("{\"tmp\": {\"dir\": \"%s/own\"}}", dir); /* not private */
    assert_string_equal(text_at(facts, "tmp.state"), "error");
    json_decref(facts);
    assert_int_equal(rmdir(own), 0);
    free(own);
    facts = facts_for("{\"tmp\": {\"dir\": \"/proc/muster\"}}"); /* nobody can write there */
    assert_string_equal(text_at(facts, "tmp.step"), "mkdir");
    json_decref(facts);
    mu_preflight_want_t want = usual_want();
    want.token = COOKIE;
    mu_preflight_report_t *report =
        judge("tmp", "{\"state\": \"error\", \"step\": \"write\", \"detail\": \"full\"}", &want, NULL);
    assert_int_equal(findings_of(report, "tmp.write"), 3); /* h1 and h2 said nothing: no pass either */
    mu_preflight_free(report);
}

/* Opening a FIFO that nobody writes blocks for ever, as a dead mount does: the other facts come all the same.
 */
static void probe_survives_dead_storage(void **state)
{
    (void)state;
    char *fifo = mu_path_join(dir, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int64_t begin = mu_now_ns();
    json_t *facts =
        facts_for("{\"seconds\": 0.5, \"storage\": {\"dir\": \"%s\", \"cookie\": \"fifo\"}}", dir);
    assert_true(mu_now_ns() - begin >= 500000000);
    assert_string_equal(text_at(facts, "storage.state"), "error");
    assert_true(json_is_true(mu_judge_at(facts, "storage.timeout")));
    assert_non_null(strstr(text_at(facts, "storage.detail"), "no answer in 0.5 s"));
    assert_true(json_integer_value(mu_judge_at(facts, "resources.cores")) >= 1);
    assert_true(json_object_size(mu_judge_at(facts, "libraries")) > 0);
    json_decref(facts);
    free(fifo);
}

/* tests/unit/stand_ins/nvml.c does what its environment says. */
static void probe_sees_gpus(void **state)
{
    (void)state;
    json_t *facts = facts_for("{\"paths\": {\"nvml\": \"%s/no-library.so\"}}", dir);
    assert_string_equal(text_at(facts, "gpu.state"), "absent");
    json_decref(facts);
    setenv("STAND_IN_NVML", "", 1);
    facts = facts_for("{\"paths\": {\"nvml\": \"%s\"}}", MU_STAND_IN_NVML);
    assert_string_equal(text_at(facts, "gpu.state"), "ok");
    assert_string_equal(text_at(facts, "gpu.driver"), "580.00");
    json_t *devices = json_object_get(json_object_get(facts, "gpu"), "devices");
    assert_int_equal(json_array_size(devices), 2);
    assert_string_equal(text_at(json_array_get(devices, 1), "uuid"), "GPU-stand-in-1");
    assert_string_equal(text_at(json_array_get(devices, 1), "pci"), "0000:8b:00.0");
    assert_int_equal(json_integer_value(mu_judge_at(json_array_get(devices, 0), "ecc_uncorrected")), 0);
    json_decref(facts);
    setenv("STAND_IN_NVML", "ecc remap busy", 1);
    facts = facts_for("{\"paths\": {\"nvml\": \"%s\"}}", MU_STAND_IN_NVML);
    devices = json_object_get(json_object_get(facts, "gpu"), "devices");
    assert_int_equal(json_integer_value(mu_judge_at(json_array_get(devices, 1), "ecc_uncorrected")), 3);
    assert_true(json_is_true(mu_judge_at(json_array_get(devices, 1), "remap_pending")));
    assert_int_equal(
        json_integer_value(json_array_get(mu_judge_at(json_array_get(devices, 1), "processes"), 0)), 4242);
    json_decref(facts);
    setenv("STAND_IN_NVML", "init", 1);
    facts = facts_for("{\"paths\": {\"nvml\": \"%s\"}}", MU_STAND_IN_NVML);
    assert_string_equal(text_at(facts, "gpu.state"), "error");
    json_decref(facts);
    setenv("STAND_IN_NVML", "hang", 1);
    facts = facts_for("{\"seconds\": 0.5, \"paths\": {\"nvml\": \"%s\"}}", MU_STAND_IN_NVML);
    assert_string_equal(text_at(facts, "gpu.state"), "error");
    assert_true(json_is_true(mu_judge_at(facts, "gpu.timeout")));
    json_decref(facts);
    unsetenv("STAND_IN_NVML");
}

/* Limits of control groups as a container sees them. */
static void probe_sees_limits(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/a/b\n");
    put("proc/self/status", "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000004000\n");
    put("proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 8388608 kB\n");
    put("cg/fs/cgroup/a/memory.max", "1073741824\n");
    put("cg/fs/cgroup/a/memory.current", "73741824\n");
    put("cg/fs/cgroup/a/b/memory.max", "max\n");
    put("cg/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    json_t *facts = facts_for(
        "{\"paths\": {\"sys\": \"%s/cg\", \"proc\": \"%s/proc\", \"shm\": \"%s/absent\"}}", dir, dir, dir);
    assert_int_equal(json_integer_value(mu_judge_at(facts, "resources.memory")), 1000000000);
    assert_int_equal(json_integer_value(mu_judge_at(facts, "resources.cores")), 1);
    assert_true(json_is_true(mu_judge_at(facts, "resources.ipc_lock")));
    assert_int_equal(json_integer_value(mu_judge_at(facts, "resources.shm")), -1);
    json_decref(facts);
    facts = facts_for("{\"daemon\": \"%s/absent\"}", dir);
    assert_string_equal(text_at(facts, "daemon.state"), "error");
    json_decref(facts);
}

/* ---- the way back ---- */

static void *serve(void *arg)
{
    mu_back_t *back = arg;
    struct pollfd fds[MU_BACK_FDS];
    for (int64_t end = mu_now_ns() + 3000000000; mu_now_ns() < end;) {
        int n = mu_back_gather(back, fds);
        poll(fds, (nfds_t)n, 10);
        mu_back_serve(back, fds, n);
    }
    return NULL;
}

static void way_back(void **state)
{
    (void)state;
    mu_back_t *back = NULL;
    pthread_t thread;
    assert_int_equal(mu_back_new(0, COOKIE, &back), MU_OK);
    assert_int_equal(pthread_create(&thread, NULL, serve, back), 0);
    int port = mu_back_port(back);
    assert_in_range(port, MU_PORT_CONTROL, MU_PORT_CONTROL + MU_PORT_CONTROL_COUNT - 1);
    static const char ask[] =
        "{\"back\": {\"address\": \"%s\", \"port\": %d, \"token\": \"%s\", \"seconds\": 1}}";
    json_t *facts = facts_for(ask, "127.0.0.1", port, COOKIE);
    assert_string_equal(text_at(facts, "back.state"), "ok");
    json_decref(facts);
    facts = facts_for(ask, "127.0.0.1", port, "ffffffffffffffffffffffffffffffff");
    assert_string_equal(text_at(facts, "back.state"), "error");
    assert_non_null(strstr(text_at(facts, "back.detail"), "not this launcher"));
    json_decref(facts);
    facts = facts_for(ask, "127.0.0.1", 1, COOKIE);
    assert_string_equal(text_at(facts, "back.detail"), "Connection refused");
    json_decref(facts);
    /* connections that say nothing do not keep the others out */
    int silent[MU_BACK_CONNECTIONS + 8];
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        silent[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(silent[i], (struct sockaddr *)&a, sizeof a), 0);
    }
    facts = facts_for(ask, "127.0.0.1", port, COOKIE);
    assert_string_equal(text_at(facts, "back.state"), "ok");
    json_decref(facts);
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        close(silent[i]);
    pthread_join(thread, NULL);
    mu_back_free(back);
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    mu_log_sink_set(keep, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_hosts_pass),
        cmocka_unit_test(each_check_fails),
        cmocka_unit_test(hosts_without_facts_fail),
        cmocka_unit_test(gpus_by_need),
        cmocka_unit_test(drivers_by_toolkit),
        cmocka_unit_test(roce_needs_an_address),
        cmocka_unit_test(rdma_by_need),
        cmocka_unit_test(rdma_is_told),
        cmocka_unit_test(report_reads_well),
        cmocka_unit_test(followers_are_folded),
        cmocka_unit_test(probe_sees_storage),
        cmocka_unit_test(probe_sees_tmp),
        cmocka_unit_test(probe_survives_dead_storage),
        cmocka_unit_test(probe_sees_gpus),
        cmocka_unit_test(probe_sees_limits),
        cmocka_unit_test(way_back),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return mu_remove_tree(dir) == MU_OK ? failed : 1;
}
