/*
 * Functions that this project does not use, turned into compile errors. Each has a safer neighbour:
 * strings go through mu_buf_t (common/buf.h) or snprintf, numbers through common/num.h.
 * Included by common/status.h, hence everywhere.
 */
#ifndef MU_COMMON_BANNED_H
#define MU_COMMON_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef __cplusplus
#undef strcpy
#undef strncpy
#undef strcat
#undef strncat
#undef strtok
#undef sprintf /* macros of fortified headers */
#undef vsprintf
#pragma GCC poison strcpy strncpy strcat strncat strtok sprintf vsprintf gets atoi atol atoll atof
#pragma GCC poison gmtime localtime ctime asctime tmpnam tempnam mktemp
#endif

#endif
