/* What a program is: its version, the revision of its sources, and the libraries that it was built with. */
#ifndef MU_COMMON_VERSION_H
#define MU_COMMON_VERSION_H

#include "common/status.h"

/* `PROGRAM --version [--json]` on stdout; argv[0] is the program's name, argv[1] "--version". The first line is
 * "PROGRAM VERSION"; with --json it is one object. Errors: MU_USAGE, MU_IO. */
mu_status_t mu_version_print(int argc, char **argv, const char *program);

#endif
