/* The number of the mistake that a program of planted C sources makes; 0: none. */
#include <stdlib.h>

extern int mu_mutant;
int mu_mutant;

__attribute__((constructor)) static void choose(void)
{
    const char *number = getenv("MUTANT");
    mu_mutant = number ? atoi(number) : 0;
}
