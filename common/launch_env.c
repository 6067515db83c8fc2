#include "common/launch_env.h"

#include <stddef.h>

const mu_env_row_t mu_launch_env[] = {
#define ROW(name, kind, reader, meaning) {name, kind, reader, meaning},
    MU_LAUNCH_ENV_TABLE(ROW)
#undef ROW
        {NULL, MU_ENV_HERE, NULL, NULL}};
