/*
 * RDMA as one host sees it, on a tree that stands in for sysfs and a library that stands in for libibverbs: the
 * ports and their GIDs, which of them NCCL gets, whether they open, how far the GPUs are.
 */
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "worker/fabric/ibverbs.h"
#include "worker/fabric/pci.h"
#include "worker/fabric/ib_ports.h"
#include "worker/probe/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/muster-rdma-XXXXXX";

static void put(const char *name, const char *text)
{
    char *path = mu_path_join(dir, name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(mu_make_dirs(path, 0700), MU_OK);
    *slash = '/';
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void put_in(const char *where, const char *name, const char *text)
{
    char *path = mu_format("%s/%s", where, name);
    put(path, text);
    free(path);
}

static void put_link(const char *name, const char *target)
{
    char *from = mu_path_join(dir, name), *to = mu_path_join(dir, target), *slash = strrchr(from, '/');
    *slash = '\0';
    assert_int_equal(mu_make_dirs(from, 0700), MU_OK);
    *slash = '/';
    assert_int_equal(mu_make_dirs(to, 0700), MU_OK);
    unlink(from);
    assert_int_equal(symlink(to, from), 0);
    free(from);
    free(to);
}

static void put_port(const char *tree, const char *port, const char *state, const char *rate,
                     const char *link)
{
    char *where = mu_format("%s/class/infiniband/%s", tree, port);
    put_in(where, "state", state);
    put_in(where, "rate", rate);
    put_in(where, "link_layer", link);
    free(where);
}

static void put_gid(const char *tree, const char *port, int index, const char *gid, const char *type)
{
    char *where = mu_format("%s/class/infiniband/%s", tree, port);
    char *name = mu_format("gids/%d", index), *kind = mu_format("gid_attrs/types/%d", index);
    put_in(where, name, gid);
    if (type)
        put_in(where, kind, type);
    free(name);
    free(kind);
    free(where);
}

#define UP    "4: ACTIVE\n"
#define NDR   "400 Gb/sec (4X NDR)\n"
#define HDR   "200 Gb/sec (4X HDR)\n"
#define IB    "InfiniBand\n"
#define ETH   "Ethernet\n"
#define EMPTY "0000:0000:0000:0000:0000:0000:0000:0000\n"
#define LOCAL "fe80:0000:0000:0000:506b:4b03:0000:0001\n"
#define IPV4  "0000:0000:0000:0000:0000:ffff:0a00:0001\n"
#define IPV6  "2001:0db8:0000:0000:0000:0000:0000:0001\n"

/* ---- ports ---- */

static int read_tree(const char *tree, const char *hca, mu_ib_port_t port[MU_PORTS], char *names, size_t size)
{
    char *sys = mu_path_join(dir, tree);
    int n = mu_ib_ports_read(sys, port);
    mu_ports_choose(port, n, hca);
    mu_ib_ports_hca(port, n, names, size);
    free(sys);
    return n;
}

static void expect_hca(const char *tree, const char *hca, const char *want)
{
    mu_ib_port_t port[MU_PORTS];
    char names[256];
    read_tree(tree, hca, port, names, sizeof names);
    assert_string_equal(names, want);
}

static void active_and_fast_ports_are_chosen(void **state)
{
    (void)state;
    mu_ib_port_t port[MU_PORTS];
    char names[256];
    assert_int_equal(read_tree("absent", NULL, port, names, sizeof names), 0);
    assert_string_equal(names, "");
    put_port("ib", "mlx5_0/ports/1", UP, NDR, IB);
    put_port("ib", "mlx5_1/ports/1", UP, HDR, IB);
    put_port("ib", "mlx5_2/ports/1", "1: DOWN\n", NDR, IB);
    put_port("ib", "mlx5_3/ports/2", UP, "25 Gb/sec (1X EDR)\n", IB); /* the management's */
    put_port("ib", "mlx5_4/ports/1", UP, NDR, ETH);                   /* the storage's */
    put_port("ib", "mlx5_5/ports/x", UP, NDR, IB);                    /* not a port */
    put_in("ib/class/infiniband/mlx5_0/ports/1", "lid", "0x1a\n");
    put_gid("ib", "mlx5_0/ports/1", 0, LOCAL, NULL);
    assert_int_equal(read_tree("ib", NULL, port, names, sizeof names), 5);
    assert_string_equal(names, "mlx5_0:1,mlx5_1:1");
    assert_string_equal(port[0].lid, "0x1a");
    assert_string_equal(port[0].gid, "fe80:0000:0000:0000:506b:4b03:0000:0001");
    assert_int_equal(port[0].gid_index, 0);
    assert_string_equal(port[2].state, "DOWN");
    assert_false(mu_ib_ports_gid_index(port, 5, &(int){0}));
    mu_ib_ports_hca(port, 5, names, 16);
    assert_string_equal(names, "mlx5_0:1");
}

static void the_users_choice_is_read_as_nccl_reads_it(void **state)
{
    (void)state;
    expect_hca("ib", "", "mlx5_0:1,mlx5_1:1");
    expect_hca("ib", "mlx5", "mlx5_0:1,mlx5_1:1,mlx5_3:2,mlx5_4:1"); /* a prefix; slow ones too */
    expect_hca("ib", "mlx5_3,mlx5_4", "mlx5_3:2,mlx5_4:1");
    expect_hca("ib", "=mlx5", "");
    expect_hca("ib", "=mlx5_1:1,mlx5_0:2", "mlx5_1:1");
    expect_hca("ib", "^=mlx5_0:1,mlx5_4", "mlx5_1:1,mlx5_3:2");
    expect_hca("ib", "^mlx5", "");
    expect_hca("ib", "mlx5_2", ""); /* it is down */
    expect_hca("ib", "mlx5_1:x,,", "");
}

static void the_gid_of_roce_crosses_routers(void **state)
{
    (void)state;
    mu_ib_port_t port[MU_PORTS];
    char names[256];
    int index = -1;
    put_port("roce", "mlx5_0/ports/1", UP, NDR, ETH);
    put_gid("roce", "mlx5_0/ports/1", 0, LOCAL, "IB/RoCE v1\n");
    put_gid("roce", "mlx5_0/ports/1", 1, LOCAL, "RoCE v2\n");
    put_gid("roce", "mlx5_0/ports/1", 2, IPV6, "RoCE v2\n");
    put_gid("roce", "mlx5_0/ports/1", 3, IPV4, "IB/RoCE v1\n");
    put_gid("roce", "mlx5_0/ports/1", 4, EMPTY, "RoCE v2\n");
    put_gid("roce", "mlx5_0/ports/1", 5, "0000:0000:0000:0000:0000:ffff:0a00:0009\n", NULL); /* of others */
    put_gid("roce", "mlx5_0/ports/1", 6, IPV4, "RoCE v2\n");
    read_tree("roce", NULL, port, names, sizeof names);
    assert_int_equal(port[0].gid_index, 6);
    assert_string_equal(port[0].gid, "0000:0000:0000:0000:0000:ffff:0a00:0001");
    assert_true(mu_ib_ports_gid_index(port, 1, &index));
    assert_int_equal(index, 6);

    put_port("roce", "mlx5_1/ports/1", UP, NDR, ETH); /* one without an address is left out */
    put_gid("roce", "mlx5_1/ports/1", 0, LOCAL, "IB/RoCE v1\n");
    put_gid("roce", "mlx5_1/ports/1", 1, LOCAL, "RoCE v2\n");
    read_tree("roce", NULL, port, names, sizeof names);
    assert_string_equal(names, "mlx5_0:1");
    assert_int_equal(port[1].gid_index, -1);
    read_tree("roce", "mlx5", port, names, sizeof names); /* unless it is asked for */
    assert_string_equal(names, "mlx5_0:1,mlx5_1:1");
    assert_false(mu_ib_ports_gid_index(port, 2, &index));

    put_gid("roce", "mlx5_1/ports/1", 2, IPV6, "RoCE v2\n"); /* only IPv6: fine, but at another index */
    read_tree("roce", NULL, port, names, sizeof names);
    assert_string_equal(names, "mlx5_0:1,mlx5_1:1");
    assert_int_equal(port[1].gid_index, 2);
    assert_false(mu_ib_ports_gid_index(port, 2, &index));
    put_gid("roce", "mlx5_1/ports/1", 3, "2001:0db8:0000:0000:0000:0000:0000:0002\n", "RoCE v2\n");
    read_tree("roce", NULL, port, names, sizeof names);
    assert_int_equal(port[1].gid_index, 2); /* the first */

    put_port("bare", "mlx5_0/ports/1", UP, NDR, ETH); /* where none has an address all are shown */
    put_gid("bare", "mlx5_0/ports/1", 0, LOCAL, "RoCE v2\n");
    put_gid("bare", "mlx5_0/ports/1", 2, IPV4, "RoCE v2\n"); /* after the table's end */
    expect_hca("bare", NULL, "mlx5_0:1");
    read_tree("bare", NULL, port, names, sizeof names);
    assert_int_equal(port[0].gid_index, -1);
}

static void expect_nccl(const char *tree, const char *ports, const char *hca, const char *index)
{
    char names[256], *sys = mu_path_join(dir, tree);
    mu_ib_ports_tell(sys, names, sizeof names);
    assert_string_equal(names, ports);
    assert_string_equal(getenv("NCCL_IB_HCA") ? getenv("NCCL_IB_HCA") : "", hca);
    assert_string_equal(getenv("NCCL_IB_GID_INDEX") ? getenv("NCCL_IB_GID_INDEX") : "", index);
    unsetenv("NCCL_IB_HCA");
    unsetenv("NCCL_IB_GID_INDEX");
    free(sys);
}

static void nccl_is_told_what_the_user_has_not(void **state)
{
    (void)state;
    put_port("nccl", "mlx5_0/ports/1", UP, NDR, ETH);
    put_gid("nccl", "mlx5_0/ports/1", 0, LOCAL, "IB/RoCE v1\n");
    put_gid("nccl", "mlx5_0/ports/1", 1, IPV4, "RoCE v2\n");
    unsetenv("NCCL_IB_HCA");
    unsetenv("NCCL_IB_GID_INDEX");
    expect_nccl("absent", "", "", "");
    expect_nccl("ib", "mlx5_0:1,mlx5_1:1", "=mlx5_0:1,mlx5_1:1", "");
    expect_nccl("nccl", "mlx5_0:1", "=mlx5_0:1", "1");
    setenv("NCCL_IB_HCA", "mlx5", 1);
    setenv("NCCL_IB_GID_INDEX", "5", 1);
    expect_nccl("nccl", "mlx5_0:1", "mlx5", "5");
    setenv("NCCL_IB_HCA", "mlx6", 1);
    expect_nccl("nccl", "", "mlx6", "");
    setenv("NCCL_IB_ADDR_FAMILY", "AF_INET6", 1);
    expect_nccl("nccl", "mlx5_0:1", "=mlx5_0:1", "");
    unsetenv("NCCL_IB_ADDR_FAMILY");
}

/* ---- distance ---- */

#define SWITCH "pci/devices/pci0000:17/0000:17:01.0/0000:18:00.0"

static const struct {
    const char *address, *path;
    int node;
    mu_pci_distance_t distance; /* from the first */
} cards[] = {
    {"0000:1a:00.0", SWITCH "/0000:19:00.0/0000:1a:00.0", 0, MU_PCI_SWITCH},
    {"0000:1b:00.0", SWITCH "/0000:19:01.0/0000:1b:00.0", 0, MU_PCI_SWITCH},
    {"0000:1b:00.1", SWITCH "/0000:19:01.0/0000:1b:00.1", 0, MU_PCI_SWITCH},
    {"0000:1e:00.0", SWITCH "/0000:19:02.0/0000:1c:00.0/0000:1d:00.0/0000:1e:00.0", 0, MU_PCI_SWITCHES},
    {"0000:20:00.0", "pci/devices/pci0000:17/0000:17:02.0/0000:20:00.0", 0, MU_PCI_COMPLEX},
    {"0000:2b:00.0", "pci/devices/pci0000:2a/0000:2a:01.0/0000:2b:00.0", 0, MU_PCI_NODE},
    {"0000:3b:00.0", "pci/devices/pci0000:3a/0000:3a:01.0/0000:3b:00.0", 1, MU_PCI_SOCKET},
    {"0000:8b:00.0", "pci/devices/pci0000:8a/0000:8a:01.0/0000:8b:00.0", 2, MU_PCI_FAR},
    {"0000:9b:00.0", "pci/devices/pci0000:9a/0000:9a:01.0/0000:9b:00.0", -1, MU_PCI_UNKNOWN},
    {"0000:ab:00.0", "pci/devices/virtual/0000:ab:00.0", 0, MU_PCI_UNKNOWN},
};
enum { CARDS = sizeof cards / sizeof *cards };

static void put_cards(void)
{
    put("pci/devices/system/node/node0/cpulist", "0-15,48-63\n");
    put("pci/devices/system/node/node1/cpulist", "16-31\n");
    put("pci/devices/system/node/node2/cpulist", "32-47\n");
    put("pci/devices/system/cpu/cpu0/topology/physical_package_id", "0\n");
    put("pci/devices/system/cpu/cpu16/topology/physical_package_id", "0\n");
    put("pci/devices/system/cpu/cpu32/topology/physical_package_id", "1\n");
    for (int i = 0; i < CARDS; i++) {
        char *link = mu_format("pci/bus/pci/devices/%s", cards[i].address);
        char *node = mu_format("%d\n", cards[i].node);
        put_in(cards[i].path, "numa_node", node);
        put_link(link, cards[i].path);
        free(link);
        free(node);
    }
}

static void place(const char *address, mu_pci_place_t *out)
{
    char *sys = mu_path_join(dir, "pci"), *link = mu_format("bus/pci/devices/%s", address);
    mu_pci_place(sys, link, out);
    free(sys);
    free(link);
}

static void distances_are_those_of_the_tree(void **state)
{
    (void)state;
    mu_pci_place_t first, other;
    put_cards();
    place(cards[0].address, &first);
    assert_string_equal(first.path, "pci0000:17/0000:17:01.0/0000:18:00.0/0000:19:00.0/0000:1a:00.0");
    for (int i = 0; i < CARDS; i++) {
        place(cards[i].address, &other);
        if (mu_pci_distance(&first, &other) != cards[i].distance ||
            mu_pci_distance(&other, &first) != cards[i].distance)
            fail_msg("%s is %s", cards[i].address, mu_pci_word(mu_pci_distance(&first, &other)));
    }
    place("0000:ff:00.0", &other);
    assert_int_equal(mu_pci_distance(&first, &other), MU_PCI_UNKNOWN);
    /* without the sockets of nodes 1 and 2 they count as apart */
    put("pci/devices/system/node/node1/cpulist", "\n");
    place("0000:3b:00.0", &other);
    assert_int_equal(mu_pci_distance(&first, &other), MU_PCI_FAR);
    put("pci/devices/system/node/node1/cpulist", "16-31\n");
}

/* ---- the library ---- */

static mu_ibverbs_trial_t try_port(const char *troubles, const char *device, int gid_index)
{
    mu_ibverbs_t verbs;
    mu_ibverbs_trial_t trial;
    char why[128];
    setenv("STAND_IN_IBVERBS", troubles, 1);
    assert_true(mu_ibverbs_open(MU_STAND_IN_IBVERBS, &verbs, why, sizeof why));
    mu_ibverbs_try(&verbs, device, 1, gid_index, &trial);
    mu_ibverbs_close(&verbs);
    unsetenv("STAND_IN_IBVERBS");
    return trial;
}

static void a_port_is_tried(void **state)
{
    (void)state;
    static const struct {
        const char *troubles;
        mu_ibverbs_step_t step;
        int error;
    } cases[] = {
        {"", MU_IBVERBS_FINE, 0},
        {"hidden", MU_IBVERBS_LIST, 0},
        {"closed", MU_IBVERBS_OPEN, ENODEV},
        {"domain", MU_IBVERBS_DOMAIN, ENOSPC},
        {"memlock", MU_IBVERBS_REGISTER, ENOMEM},
        {"refused", MU_IBVERBS_REGISTER, EPERM},
        {"no_gid", MU_IBVERBS_GID, EIO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_ibverbs_trial_t trial = try_port(cases[i].troubles, "mlx5_1", 3);
        assert_int_equal(trial.step, cases[i].step);
        assert_int_equal(trial.error, cases[i].error);
    }
    mu_ibverbs_trial_t trial = try_port("", "mlx5_1", 3);
    assert_string_equal(trial.gid, "0000:0000:0000:0000:0000:ffff:0a00:0002");
    assert_true(trial.dma_buf);
    trial = try_port("no_dmabuf", "mlx5_0", -1);
    assert_int_equal(trial.step, MU_IBVERBS_FINE);
    assert_string_equal(trial.gid, "");
    assert_false(trial.dma_buf);
    assert_int_equal(try_port("", "mlx5_2", 0).step, MU_IBVERBS_LIST);
}

static void another_library_is_refused(void **state)
{
    (void)state;
    mu_ibverbs_t verbs;
    char why[128];
    assert_false(mu_ibverbs_open("libc.so.6", &verbs, why, sizeof why));
    assert_non_null(strstr(why, "lacks ibv_"));
    assert_false(mu_ibverbs_open("/absent/libibverbs.so.1", &verbs, why, sizeof why));
    assert_non_null(strstr(why, "is not there"));
}

/* The real one has all functions, and no device of that name. */
static void the_real_library_is_the_same(void **state)
{
    (void)state;
    mu_ibverbs_t verbs;
    mu_ibverbs_trial_t trial;
    char why[128];
    if (!mu_ibverbs_open("libibverbs.so.1", &verbs, why, sizeof why)) {
        assert_string_equal(why, "libibverbs.so.1 is not there");
        print_message("skipped: %s\n", why);
        skip();
    }
    assert_non_null(verbs.reg_dmabuf_mr);
    mu_ibverbs_try(&verbs, "no such device", 1, 0, &trial);
    assert_int_equal(trial.step, MU_IBVERBS_LIST);
    mu_ibverbs_close(&verbs);
}

/* ---- the probe ---- */

/* Two ports of RoCE as mlx5 has them, two GPUs: the first beside mlx5_0, the second on the other socket. */
static void put_host(void)
{
    put_cards();
    for (int i = 0; i < 2; i++) {
        char *port = mu_format("mlx5_%d/ports/1", i),
             *device = mu_format("pci/class/infiniband/mlx5_%d/device", i);
        char *gid = mu_format("0000:0000:0000:0000:0000:ffff:0a00:%04x\n", i + 1);
        put_port("pci", port, UP, NDR, ETH);
        put_gid("pci", port, 0, LOCAL, "IB/RoCE v1\n");
        put_gid("pci", port, 1, LOCAL, "RoCE v2\n");
        put_gid("pci", port, 2, gid, "IB/RoCE v1\n");
        put_gid("pci", port, 3, gid, "RoCE v2\n");
        put_link(device, i == 0 ? cards[1].path : cards[4].path);
        free(port);
        free(device);
        free(gid);
    }
    put_in(cards[1].path, "infiniband_verbs/uverbs3/ibdev", "another\n");
    put_in(cards[1].path, "infiniband_verbs/uverbs4/ibdev", "mlx5_0\n");
    put_in(cards[4].path, "infiniband_verbs/uverbs5/ibdev", "mlx5_1\n");
    put_link("pci/bus/pci/drivers/nvidia/0000:1a:00.0", cards[0].path);
    put_link("pci/bus/pci/drivers/nvidia/0000:8b:00.0", cards[7].path);
    put("pci/bus/pci/drivers/nvidia/uevent", "");
    put("dev/infiniband/uverbs4", "");
    put("dev/infiniband/uverbs5", "");
    put("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.1\n");
}

/* "ibverbs" of the facts; `more` may add to the question. */
static json_t *look(const char *troubles, const char *more)
{
    char *text = mu_format("{\"seconds\": 20%s, \"paths\": {\"sys\": \"%s/pci\", \"dev\": \"%s/dev\", "
                           "\"proc\": \"%s/proc\", \"ibverbs\": \"%s\", \"nvml\": \"/absent\"}}",
                           more, dir, dir, dir, MU_STAND_IN_IBVERBS);
    json_t *ask = json_loads(text, 0, NULL);
    assert_non_null(ask);
    setenv("STAND_IN_IBVERBS", troubles, 1);
    json_t *facts = mu_probe_answer(ask);
    unsetenv("STAND_IN_IBVERBS");
    json_t *seen = json_incref(json_object_get(facts, "ibverbs"));
    json_decref(facts);
    json_decref(ask);
    free(text);
    return seen;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static json_t *port_of(const json_t *seen, size_t i)
{
    return json_array_get(json_object_get(seen, "ports"), i);
}

static void the_probe_tells_a_good_host(void **state)
{
    (void)state;
    put_host();
    json_t *seen = look("", "");
    assert_string_equal(text_at(seen, "state"), "ok");
    assert_string_equal(text_at(seen, "hca"), "mlx5_0:1,mlx5_1:1");
    assert_int_equal(json_integer_value(json_object_get(seen, "gid_index")), 3);
    assert_string_equal(text_at(seen, "gpu_direct"), "DMA-BUF");
    for (size_t i = 0; i < 2; i++) {
        assert_true(json_is_true(json_object_get(port_of(seen, i), "used")));
        assert_true(json_is_null(json_object_get(port_of(seen, i), "trouble")));
        assert_string_equal(text_at(port_of(seen, i), "link"), "Ethernet");
        assert_string_equal(text_at(port_of(seen, i), "rate"), "400 Gb/sec (4X NDR)");
    }
    const json_t *gpus = json_object_get(seen, "gpus");
    assert_int_equal(json_object_size(gpus), 2);
    assert_string_equal(text_at(json_object_get(gpus, "0000:1a:00.0"), "nearest"), "mlx5_0");
    assert_string_equal(text_at(json_object_get(gpus, "0000:1a:00.0"), "distance"), "same switch");
    assert_string_equal(text_at(json_object_get(gpus, "0000:8b:00.0"), "distance"), "across sockets");
    assert_string_equal(text_at(json_object_get(gpus, "0000:8b:00.0"), "nearest"), "mlx5_0"); /* the first */
    json_decref(seen);
    seen = look("", ", \"hca\": \"mlx5_1\"");
    assert_string_equal(text_at(seen, "hca"), "mlx5_1:1");
    assert_string_equal(text_at(json_object_get(json_object_get(seen, "gpus"), "0000:1a:00.0"), "distance"),
                        "same root complex");
    json_decref(seen);
}

static void the_probe_tells_what_does_not_open(void **state)
{
    (void)state;
    static const struct {
        const char *troubles, *cause, *detail;
    } cases[] = {
        {"hidden", "driver", "no driver"},
        {"closed", "open", "No such device"},
        {"domain", "open", "protection domain"},
        {"memlock", "memlock", "16 MiB of memory cannot be registered"},
        {"refused", "register", "not permitted"},
        {"no_gid", "gid", "GID 3 cannot be read: Input/output error"},
        {"other_gid", "gid", "GID 3 is 0000:0000:0000:0000:0000:ffff:0a00:0065, but 0000:"},
    };
    put_host();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *seen = look(cases[i].troubles, "");
        const json_t *trouble = json_object_get(port_of(seen, 0), "trouble");
        assert_string_equal(text_at(seen, "state"), "ok");
        assert_string_equal(text_at(trouble, "cause"), cases[i].cause);
        if (!strstr(text_at(trouble, "detail"), cases[i].detail))
            fail_msg("%s: %s", cases[i].troubles, text_at(trouble, "detail"));
        json_decref(seen);
    }
}

/* What a container does to /dev/infiniband. */
static void the_probe_tells_a_missing_file(void **state)
{
    (void)state;
    put_host();
    char *file = mu_path_join(dir, "dev/infiniband/uverbs4");
    if (geteuid() != 0) { /* nothing is denied to root */
        assert_int_equal(chmod(file, 0400), 0);
        json_t *seen = look("closed", "");
        assert_string_equal(text_at(json_object_get(port_of(seen, 0), "trouble"), "cause"), "denied");
        json_decref(seen);
    }
    assert_int_equal(unlink(file), 0);
    json_t *seen = look("hidden", "");
    const json_t *trouble = json_object_get(port_of(seen, 0), "trouble");
    assert_string_equal(text_at(trouble, "cause"), "missing");
    assert_non_null(strstr(text_at(trouble, "detail"), "/dev/infiniband/uverbs4 is not there"));
    assert_string_equal(text_at(json_object_get(port_of(seen, 1), "trouble"), "cause"), "driver");
    json_decref(seen);
    free(file);
    file = mu_format("%s/%s/infiniband_verbs", dir, cards[1].path);
    assert_int_equal(mu_remove_tree(file), MU_OK);
    seen = look("hidden", "");
    assert_string_equal(text_at(json_object_get(port_of(seen, 0), "trouble"), "cause"), "kernel");
    json_decref(seen);
    free(file);
}

static void the_probe_tells_the_way_of_a_gpus_memory(void **state)
{
    (void)state;
    put_host();
    json_t *seen = look("no_dmabuf", "");
    assert_string_equal(text_at(seen, "gpu_direct"), "");
    json_decref(seen);
    put("pci/module/nvidia_peermem/version", "570.1\n");
    seen = look("no_dmabuf", "");
    assert_string_equal(text_at(seen, "gpu_direct"), "nvidia_peermem");
    json_decref(seen);
    put("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.1\n");
    seen = look("", ""); /* the closed driver gives no DMA-BUF */
    assert_string_equal(text_at(seen, "gpu_direct"), "nvidia_peermem");
    json_decref(seen);
    char *module = mu_path_join(dir, "pci/module");
    assert_int_equal(mu_remove_tree(module), MU_OK);
    free(module);
    seen = look("", "");
    assert_string_equal(text_at(seen, "gpu_direct"), "");
    json_decref(seen);
}

static void the_probe_survives_a_dead_device(void **state)
{
    (void)state;
    put_host();
    int64_t begin = mu_now_ns();
    json_t *seen = look("hang", ", \"seconds\": 0.5");
    assert_true(mu_now_ns() - begin < 15000000000);
    assert_string_equal(text_at(seen, "state"), "error");
    assert_non_null(strstr(text_at(seen, "detail"), "no answer in 0.5 s"));
    json_decref(seen);
}

static void the_probe_tells_absence(void **state)
{
    (void)state;
    json_t *ask = json_pack("{s:{s:s, s:s}}", "paths", "sys", "/absent", "nvml", "/absent");
    json_t *facts = mu_probe_answer(ask);
    assert_string_equal(text_at(json_object_get(facts, "ibverbs"), "state"), "absent");
    json_decref(facts);
    json_decref(ask);
    put_host();
    ask = json_pack("{s:{s:s, s:s, s:s++}}", "paths", "nvml", "/absent", "ibverbs", "/absent", "sys", dir,
                    "/", "pci");
    facts = mu_probe_answer(ask);
    const json_t *seen = json_object_get(facts, "ibverbs");
    assert_string_equal(text_at(seen, "state"), "error");
    assert_string_equal(text_at(seen, "detail"), "libibverbs.so.1 is not there");
    assert_string_equal(text_at(seen, "hca"), "mlx5_0:1,mlx5_1:1");
    assert_null(json_object_get(port_of(seen, 0), "trouble"));
    json_decref(facts);
    json_decref(ask);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return mu_remove_tree(dir) == MU_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(active_and_fast_ports_are_chosen),
        cmocka_unit_test(the_users_choice_is_read_as_nccl_reads_it),
        cmocka_unit_test(the_gid_of_roce_crosses_routers),
        cmocka_unit_test(nccl_is_told_what_the_user_has_not),
        cmocka_unit_test(distances_are_those_of_the_tree),
        cmocka_unit_test(a_port_is_tried),
        cmocka_unit_test(another_library_is_refused),
        cmocka_unit_test(the_real_library_is_the_same),
        cmocka_unit_test(the_probe_tells_a_good_host),
        cmocka_unit_test(the_probe_tells_what_does_not_open),
        cmocka_unit_test(the_probe_tells_a_missing_file),
        cmocka_unit_test(the_probe_tells_the_way_of_a_gpus_memory),
        cmocka_unit_test(the_probe_survives_a_dead_device),
        cmocka_unit_test(the_probe_tells_absence),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
