#include "launcher/mpi/ports.h"
#include "common/clock.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_free(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
               sizeof one); /* as mpirun does: old connections do not count */
    bool free = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0;
    if (fd >= 0)
        close(fd);
    return free;
}

int mu_port_daemon_block(int count)
{
    /* Launchers that start at one moment must not all look at the same block first: between the look and mpirun's
     * own listening there is time. */
    int blocks = MU_PORT_DAEMON_COUNT / count,
        first = (int)((uint32_t)(mu_now_ns() / 1000) % (uint32_t)blocks);
    for (int k = 0; k < blocks; k++) {
        int i = 0, port = MU_PORT_DAEMON + (first + k) % blocks * count;
        while (i < count && is_free(port + i))
            i++;
        if (i == count)
            return port;
    }
    return MU_PORT_DAEMON;
}
