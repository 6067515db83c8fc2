/* What the tests of the data path share: a folder of their own, files, and the messages that were logged. */
#ifndef MU_TESTS_DATA_SUPPORT_H
#define MU_TESTS_DATA_SUPPORT_H

#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

static char folder[64];
static mu_buf_t said = MU_BUF_INIT; /* every logged line */

static void keep_line(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    mu_buf_adds(&said, line);
    mu_buf_addc(&said, '\n');
}

static inline int support_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/muster-test-XXXXXX");
    mu_log_sink_set(keep_line, NULL);
    mu_buf_clear(&said);
    return mkdtemp(folder) ? 0 : -1;
}

static inline int support_down(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&said);
    return mu_remove_tree(folder) == MU_OK ? 0 : -1;
}

/* The path of a file in the folder, good until the eighth call after. */
static inline char *in_folder(const char *name)
{
    static char path[8][256];
    static unsigned next;
    char *p = path[next++ % 8];
    snprintf(p, 256, "%s/%s", folder, name);
    return p;
}

/* Thousands are written, so nothing here syncs: not even ext4, which does when a file was first cut to
 * nothing. */
static inline void overwrite(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_true(mu_write_all(fd, bytes, n));
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    close(fd);
}

static inline char *write_file(const char *name, const void *bytes, size_t n)
{
    char *path = in_folder(name);
    overwrite(path, bytes, n);
    return path;
}

static inline void assert_said(const char *text)
{
    if (!said.data || !strstr(said.data, text))
        fail_msg("'%s' was not said, but: %s", text, said.data ? said.data : "nothing");
}

/* A small generator of bytes for mutations: xorshift. */
static inline uint32_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

/* Changes, cuts or repeats a few bytes; `out` has room for n + 16. Returns the new length. */
static inline size_t mutate(uint64_t *state, const char *from, size_t n, char *out)
{
    memcpy(out, from, n);
    size_t m = n;
    for (uint32_t k = draw(state) % 4 + 1; k > 0 && m > 0; k--) {
        size_t at = draw(state) % m;
        switch (draw(state) % 5) {
        case 0:
            out[at] = (char)(out[at] ^ (1 << draw(state) % 8));
            break;
        case 1:
            out[at] = (char)draw(state);
            break;
        case 2:
            m = at;
            break;
        case 3:
            memmove(out + at, out + at + 1, m - at - 1);
            m--;
            break;
        default:
            if (m < n + 16) {
                memmove(out + at + 1, out + at, m - at);
                m++;
            }
        }
    }
    return m;
}

#endif
