#include "common/revision.h"

/* A program that defines these itself does not take this file from the library. */
const char mu_build_revision[] = "";
const bool mu_build_changed = false;
