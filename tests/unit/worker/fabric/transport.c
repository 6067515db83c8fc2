/* What NCCL gets to know of a host's network, and what its log says that it took. */
#include "common/file.h"
#include "common/buf.h"
#include "worker/fabric/transport.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>

static char dir[] = "/tmp/muster-transport-XXXXXX";

static void put_file(const char *name, const char *text)
{
    char *path = mu_path_join(dir, name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(mu_make_dirs(path, 0700), MU_OK);
    *slash = '/';
    assert_int_equal(mu_file_replace(path, text, strlen(text), 0600), MU_OK);
    free(path);
}

static void interfaces_by_name_and_by_network(void **state)
{
    (void)state;
    char names[64];
    mu_transport_interfaces("lo", names, sizeof names);
    assert_string_equal(names, "=lo");
    mu_transport_interfaces("127.0.0.0/8,lo,none0", names, sizeof names);
    assert_string_equal(names, "=lo");
    mu_transport_interfaces("none0,255.255.255.255/32,127.0.0.0/x,/8", names, sizeof names);
    assert_string_equal(names, "");
}

static void says(const char *log, const char *want)
{
    char *path = mu_path_join(dir, "nccl.log"), words[64];
    mu_transport_seen_t seen;
    put_file("nccl.log", log);
    mu_transport_read(path, &seen);
    mu_transport_words(&seen, words, sizeof words);
    assert_string_equal(words, want);
    free(path);
}

static void the_log_tells_the_transport(void **state)
{
    (void)state;
    says("", "");
    says("h:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n", "P2P");
    says("h:1:2 [0] NCCL INFO Channel 00 : 0[0] -> 1[1] via SHM/direct/direct\n", "SHM");
    says("h:1:2 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/Socket/0\n"
         "h:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/IPC\n",
         "P2P, TCP");
    says("h:1:2 [0] NCCL INFO Using network IB\n"
         "h:1:2 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/IB/0\n"
         "h:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0/GDRDMA\n",
         "RDMA with GPUDirect");
    says("h:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/AWS Libfabric/0/GDRDMA\n"
         "h:1:2 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[0] [send] via NET/Socket/0\n",
         "RDMA with GPUDirect, TCP");
    says("h:1:2 [0] NCCL INFO falling back via NET/Socket, said by nobody's channel\n", "");
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
        cmocka_unit_test(interfaces_by_name_and_by_network),
        cmocka_unit_test(the_log_tells_the_transport),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
