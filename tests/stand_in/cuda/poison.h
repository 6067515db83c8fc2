/* Closing memory to the address sanitizer, where there is one: MU_ASAN says so. */
#ifndef MU_STAND_IN_POISON_H
#define MU_STAND_IN_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define MU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MU_ASAN 1
#endif
#endif

#ifdef MU_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#endif
