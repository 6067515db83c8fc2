/* What two hosts' probes say of themselves, with a NUL between: any JSON; a third host is as a host should
 * be. */
#include "launcher/preflight/preflight_mesh.h"
#include "launcher/ready/ready_internal.h"
#include "tests/fuzz/fuzz.h"

enum { HOSTS = 3 };
static const char cookie[] = "00112233445566778899aabbccddeeff";
static const char good[] =
    "{\"time\":1.0,\"sent\":1.0,\"clock_offset\":0.01,\"versions\":{\"muster\":\"1\",\"mpi\":\"Open MPI\"},"
    "\"libraries\":{\"libc.so.6\":\"libc.so.6 "
    "bb\"},\"daemon\":{\"state\":\"ok\"},\"back\":{\"state\":\"ok\"},"
    "\"resources\":{\"cores\":64,\"memory\":549755813888,\"shm\":34359738368,\"nofile\":65536},"
    "\"storage\":{\"state\":\"ok\",\"mount\":\"nfs4\",\"cookie\":\"00112233445566778899aabbccddeeff\"}}";

static json_t *take(const char *text, size_t n)
{
    json_t *facts = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(facts))
        return facts;
    json_decref(facts);
    return NULL;
}

/* Where each listens and whom it has reached, as its facts say too. */
static void hear(mu_preflight_mesh_t *mesh, json_t *const *facts)
{
    for (int i = 0; i < HOSTS; i++) {
        mu_mesh_member_t *m = &mesh->member[i];
        m->host = i;
        mu_preflight_mesh_receive_place(m, facts[i]);
        m->peers = mu_preflight_mesh_peers(HOSTS, i, m->peer);
        if (m->listens)
            mu_preflight_mesh_receive_seen(m, json_object_get(facts[i], "mesh"));
        FUZZ_CHECK(!m->reported || !m->missing);
        FUZZ_CHECK(m->reported || m->missing);
    }
    mesh->members = HOSTS;
}

/* Every finding is of a host that was looked at and can be shown. */
static void check(const mu_preflight_report_t *report, const char *const *missing)
{
    int fatal = 0;
    for (int i = 0; i < report->count; i++) {
        const mu_finding_t *f = &report->finding[i];
        FUZZ_CHECK(f->host >= -1 && f->host < HOSTS && f->check && f->found);
        fatal += f->fatal;
    }
    FUZZ_CHECK(fatal == report->fatal);
    for (int i = 0; i < HOSTS; i++)
        FUZZ_CHECK(report->gpus[i] >= 0 && (!missing[i] || !mu_preflight_fit(report, i)));
    mu_preflight_print(report);
    json_t *json = mu_preflight_json(report);
    FUZZ_CHECK(json);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_hosts_t *hosts = NULL;
    char *missing[HOSTS] = {NULL}, silent[] = "answered something that is not JSON";
    const bool asked_back[HOSTS] = {true, true, false};
    size_t length;
    const mu_preflight_want_t want = {
        .run_dir = "/ckpt", .checkpoint_bytes = 1 << 30, .memory_per_slot = 1 << 30, .gpus = MU_NEED_AUTO};
    mu_preflight_report_t *report = mu_calloc(1, sizeof *report);
    fuzz_begin();
    FUZZ_CHECK(mu_hosts_parse_list("h1:2,h2,h3:2", &hosts) == MU_OK);
    report->hosts = hosts;
    report->looked_at = HOSTS;
    report->gpus = mu_calloc(HOSTS, sizeof *report->gpus);
    report->facts = mu_calloc(HOSTS, sizeof *report->facts);
    char *first = fuzz_piece(&data, &n, &length);
    report->facts[0] = take(first, length);
    report->facts[1] = take((const char *)data, n);
    report->facts[2] = take(good, sizeof good - 1);
    for (int i = 0; i < HOSTS; i++)
        missing[i] = report->facts[i] ? NULL : silent;
    struct mu_ready ready = {.hosts = hosts};
    mu_mesh_member_t member[HOSTS] = {0};
    mu_preflight_mesh_t mesh = {
        .ready = &ready, .interfaces = "lo", .port = 29500, .ports = 500, .member = member};
    hear(&mesh, report->facts);
    mu_judge_t all = {.hosts = hosts,
                      .want = &want,
                      .facts = report->facts,
                      .missing = missing,
                      .cookie = cookie,
                      .asked_back = asked_back,
                      .asked_daemon = true,
                      .mesh = &mesh,
                      .report = report};
    mu_preflight_judge(&all);
    check(report, (const char *const *)missing);
    for (int i = 0; i < HOSTS; i++) {
        free(member[i].missing);
        free(member[i].instead);
    }
    mu_preflight_free(report);
    mu_hosts_free(hosts);
    free(first);
    return 0;
}
