/* muster tokenizer train|encode|decode: see `muster tokenizer --help` and docs/tokenizer.md. */
#ifndef MU_LAUNCHER_CMD_TOKENIZER_H
#define MU_LAUNCHER_CMD_TOKENIZER_H

#include "common/status.h"

/* argv[0] is "tokenizer". Results go to stdout. Errors: MU_USAGE; MU_NOINPUT; MU_DATA; MU_IO. */
mu_status_t mu_cmd_tokenizer(int argc, char **argv);

#endif
