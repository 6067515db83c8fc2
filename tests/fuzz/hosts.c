/* One byte: which reader; then any list of hosts. A list of Slurm's is three texts with NULs between. */
#include "launcher/hosts/hosts.h"
#include "tests/fuzz/fuzz.h"

static void check(mu_hosts_t *hosts)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_hosts_t *again = NULL;
    FUZZ_CHECK(hosts->count >= 1 && hosts->count <= MU_HOSTS_MAX && mu_hosts_slots(hosts) >= hosts->count);
    for (int i = 0; i < hosts->count; i++) {
        const mu_host_t *h = &hosts->host[i];
        FUZZ_CHECK(mu_host_name_valid(h->name, strlen(h->name)) && h->name[0] != '-');
        FUZZ_CHECK(h->slots >= 0 && h->slots <= MU_SLOTS_MAX && h->port >= 0 && h->port <= 65535);
        if (i < 64)
            FUZZ_CHECK(mu_hosts_index(hosts, h->name) == i);
        bool bare = !strchr(h->name, ':');
        mu_buf_addf(&text, "%s%s%s%s%s", h->user ? h->user : "", h->user ? "@" : "", bare ? "" : "[", h->name,
                    bare ? "" : "]");
        if (h->slots)
            mu_buf_addf(&text, " slots=%d", h->slots);
        mu_buf_addc(&text, '\n');
    }
    FUZZ_CHECK(mu_hosts_parse_file("back", text.data, text.len, &again) == MU_OK);
    FUZZ_CHECK(again->count == hosts->count && mu_hosts_slots(again) == mu_hosts_slots(hosts));
    mu_hosts_free(again);
    mu_hosts_free(hosts);
    mu_buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_hosts_t *hosts = NULL;
    mu_status_t status;
    size_t length;
    uint8_t which = fuzz_byte(&data, &n);
    fuzz_begin();
    if (which % 3 == 0) {
        status = mu_hosts_parse_file("f", (const char *)data, n, &hosts);
    } else {
        char *first = fuzz_piece(&data, &n, &length), *second = fuzz_piece(&data, &n, &length),
             *third = fuzz_piece(&data, &n, &length);
        status = which % 3 == 1
                     ? mu_hosts_parse_list(first, &hosts)
                     : mu_hosts_parse_slurm(first, *second ? second : NULL, *third ? third : NULL, &hosts);
        free(first);
        free(second);
        free(third);
    }
    if (fuzz_ok(status, MU_CONFIG, MU_USAGE))
        check(hosts);
    return 0;
}
