/* What the files of this folder share. */
#ifndef MU_LAUNCHER_RENDER_IMPL_H
#define MU_LAUNCHER_RENDER_IMPL_H

#include "launcher/render/render.h"

/* slurm/muster.sbatch from its first command on. */
extern const char mu_slurm_body[];

/* Whether `list` names steps of a chain, in their order, each once. */
bool mu_chain_steps_valid(const char *list);

#endif
