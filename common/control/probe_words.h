/* The words at the beginning of the lines between launcher and probe (the protocol is in worker/probe/probe.h). */
#ifndef MU_COMMON_PROBE_WORDS_H
#define MU_COMMON_PROBE_WORDS_H

#define MU_PROBE_HELLO "MUSTER-HELLO 1 "
#define MU_PROBE_ASK   "MUSTER-ASK "
#define MU_PROBE_FACTS "MUSTER-FACTS "
#define MU_PROBE_MESH  "MUSTER-MESH "
#define MU_PROBE_LINE  (1 << 20) /* longest line, in bytes */

#endif
