/* muster prepare CONFIG... --input PATH...: text to a prepared data set (dataset/prepare/shards.h). argv[0] is
 * "prepare". */
#ifndef MU_LAUNCHER_CMD_PREPARE_H
#define MU_LAUNCHER_CMD_PREPARE_H

#include "common/status.h"

/* The result goes to stdout. Errors: MU_USAGE; MU_CONFIG (the files, the tokenizer's size against them, the
 * split); MU_NOINPUT and MU_DATA (an input, the tokenizer, a split that comes out empty); MU_RUNDIR (the
 * output); MU_IO. */
mu_status_t mu_cmd_prepare(int argc, char **argv);

#endif
