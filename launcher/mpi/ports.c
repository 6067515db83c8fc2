#include "launcher/mpi/ports.h"

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
    for (int port = MU_PORT_DAEMON; port + count <= MU_PORT_DAEMON + MU_PORT_DAEMON_COUNT; port += count) {
        int i = 0;
        while (i < count && is_free(port + i))
            i++;
        if (i == count)
            return port;
    }
    return MU_PORT_DAEMON;
}
