/* What the tests of foreign files share: a folder of their own, silence with the last lines kept, raw files.
 */
#ifndef MU_TESTS_HF_HELP_H
#define MU_TESTS_HF_HELP_H

#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "worker/cmd/verbs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#define HF_DATA MU_SOURCE_DIR "/tests/data/hf"

static char folder[] = "/tmp/muster-hf-XXXXXX";
static mu_buf_t heard = MU_BUF_INIT; /* what was logged since the last quiet() */

static inline void keep_line(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    mu_buf_addf(&heard, "%s\n", line);
}

static inline void quiet(void)
{
    mu_buf_clear(&heard);
    mu_log_sink_set(keep_line, NULL);
}

static inline int enter_folder(void **state)
{
    (void)state;
    quiet();
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static inline int leave_folder(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&heard);
    return chdir("/") == 0 && mu_remove_tree(folder) == MU_OK ? 0 : -1;
}

static inline void write_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

static inline void read_all(const char *path, mu_buf_t *out)
{
    mu_buf_clear(out);
    assert_int_equal(mu_file_read(path, 1 << 24, out), MU_OK);
}

/* Copies a plain directory's files. */
static inline void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    mu_buf_t bytes = MU_BUF_INIT;
    char *from = mu_path_join(from_dir, name), *to = mu_path_join(to_dir, name);
    assert_int_equal(mu_make_dirs(to_dir, 0), MU_OK);
    read_all(from, &bytes);
    write_bytes(to, bytes.data, bytes.len);
    mu_buf_release(&bytes);
    free(from);
    free(to);
}

/* A verb as main() calls it. */
static inline mu_status_t call(mu_status_t (*verb)(int, char **), const char *name, const char *from,
                               const char *to)
{
    char *argv[] = {(char *)(uintptr_t)name, (char *)(uintptr_t)from, (char *)(uintptr_t) "--output",
                    (char *)(uintptr_t)to, NULL};
    quiet();
    return verb(4, argv);
}

#define import_dir(from, to) call(mu_verb_import, "import", from, to)
#define export_dir(from, to) call(mu_verb_export, "export", from, to)

#define assert_heard(text)                                                                                   \
    do {                                                                                                     \
        if (!heard.data || !strstr(heard.data, text))                                                        \
            fail_msg("'%s' is not in what was said: %s", text, heard.data ? heard.data : "");                \
    } while (0)

/* A small generator of repeatable numbers. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* One of several kinds of damage to `bytes`. */
static inline void damage(mu_buf_t *bytes, uint64_t *random)
{
    uint64_t kind = next_random(random) % 8, at = next_random(random) % bytes->len;
    uint64_t value = next_random(random);
    if (kind == 0)
        bytes->len = at; /* cut */
    else if (kind == 1)
        mu_buf_add(bytes, "\0\0\0\0\0\0\0\0", 1 + value % 8);
    else if (kind == 2)
        for (size_t i = at; i < at + 8 && i < bytes->len; i++)
            bytes->data[i] = (char)0xff;
    else if (kind == 3)
        bytes->data[at % 64 % bytes->len] = (char)value;
    else if (kind == 4)
        bytes->data[at] = "0123456789[]{},:\""[value % 17];
    else if (kind == 5)
        bytes->data[at] = (char)(bytes->data[at] + 1);
    else
        bytes->data[at] = (char)value;
}

#endif
