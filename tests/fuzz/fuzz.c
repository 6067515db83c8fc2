#include "tests/fuzz/fuzz.h"
#include "common/file.h"
#include "common/log.h"

#include <fcntl.h>
#include <unistd.h>

static struct {
    char dir[4096];
    char said[2048];
    int errors;
} state;

void fuzz_broken(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s\nlast line logged: %s\n", file, line, what, state.said);
    abort();
}

static void hear(mu_log_level_t level, const char *line, void *arg)
{
    (void)arg;
    state.errors += level == MU_LOG_ERROR;
    snprintf(state.said, sizeof state.said, "%s", line);
}

void fuzz_begin(void)
{
    mu_log_sink_set(hear, NULL);
    state.errors = 0;
    state.said[0] = '\0';
}

bool fuzz_ok(mu_status_t status, mu_status_t one, mu_status_t other)
{
    if (status == MU_OK)
        return true;
    if (status != one && status != other)
        fuzz_broken(__FILE__, __LINE__, mu_status_name(status));
    FUZZ_CHECK(state.errors > 0);
    return false;
}

const char *fuzz_said(void)
{
    return state.said;
}

char *fuzz_piece(const uint8_t **data, size_t *n, size_t *piece)
{
    const uint8_t *end = *n ? memchr(*data, 0, *n) : NULL;
    *piece = end ? (size_t)(end - *data) : *n;
    char *copy = mu_format("%.*s", (int)*piece, *n ? (const char *)*data : "");
    size_t used = *piece + (end ? 1 : 0);
    *data += used;
    *n -= used;
    return copy;
}

uint8_t fuzz_byte(const uint8_t **data, size_t *n)
{
    if (*n == 0)
        return 0;
    --*n;
    return *(*data)++;
}

unsigned fuzz_short(const uint8_t **data, size_t *n)
{
    unsigned low = fuzz_byte(data, n);
    return low | (unsigned)fuzz_byte(data, n) << 8;
}

static void remove_dir(void)
{
    mu_remove_tree(state.dir);
}

const char *fuzz_dir(void)
{
    if (!state.dir[0]) {
        const char *top = getenv("TMPDIR");
        snprintf(state.dir, sizeof state.dir, "%s/muster-fuzz-XXXXXX", top && *top ? top : "/tmp");
        FUZZ_CHECK(mkdtemp(state.dir));
        atexit(remove_dir);
    }
    return state.dir;
}

char *fuzz_file(const char *name, const void *bytes, size_t n)
{
    char *path = mu_path_join(fuzz_dir(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && mu_write_all(fd, bytes, n));
    close(fd);
    return path;
}
