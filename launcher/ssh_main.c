/* muster-ssh, which mpirun starts in the place of ssh (launcher/mpi/agent.h). */
#include "launcher/mpi/agent.h"

int main(int argc, char **argv)
{
    return mu_status_exit(mu_agent(argc, argv));
}
