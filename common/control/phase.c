#include "common/control/phase.h"

const char *mu_phase_name(int phase)
{
    static const char *const names[] = {
#define MU_PHASE_NAME(name, text) text,
        MU_PHASE_TABLE(MU_PHASE_NAME)
#undef MU_PHASE_NAME
    };
    return phase >= 0 && phase < MU_PHASE_COUNT ? names[phase] : "unknown";
}
