#include "common/machine.h"

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
