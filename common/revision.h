/*
 * The revision of the sources that a program was built from. The two programs get theirs from cmake/revision.cmake at
 * each build; whatever else links mu_common (tests) has none, and need not be linked again after each commit.
 */
#ifndef MU_COMMON_REVISION_H
#define MU_COMMON_REVISION_H

#include <stdbool.h>

extern const char mu_build_revision[]; /* of git, in hex; "": unknown */
extern const bool mu_build_changed;    /* the tree was changed after that revision */

#endif
