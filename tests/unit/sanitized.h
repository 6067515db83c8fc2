/* Whether a sanitizer is compiled in. What takes one path many times takes it less often then. */
#ifndef MU_TESTS_UNIT_SANITIZED_H
#define MU_TESTS_UNIT_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MU_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MU_SANITIZED 1
#endif
#endif
#ifndef MU_SANITIZED
#define MU_SANITIZED 0
#endif

#endif
