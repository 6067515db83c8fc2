#include "dataset/prepare/spool.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };

static mu_status_t io_error(const char *path, const char *verb)
{
    return mu_fail(MU_IO, "%s: cannot %s: %s", path, verb, strerror(errno));
}

/* A path that could not be created is forgotten: what lies there is not ours to remove. */
static mu_status_t create(char **path, FILE **out)
{
    *out = fopen(*path, "wxe");
    if (!*out) {
        mu_status_t status = io_error(*path, "create");
        free(*path);
        *path = NULL;
        return status;
    }
    setvbuf(*out, NULL, _IOFBF, BUFFER);
    return MU_OK;
}

mu_status_t mu_spool_create(mu_spool_t *s, const char *dir, const char *name, int width, bool labels)
{
    *s = (mu_spool_t){.width = width, .tokens_fd = -1, .documents_fd = -1, .labels_fd = -1};
    s->tokens_path = mu_format("%s/%s.tokens", dir, name);
    MU_TRY(create(&s->tokens_path, &s->tokens));
    s->documents_path = mu_format("%s/%s.documents", dir, name);
    MU_TRY(create(&s->documents_path, &s->documents));
    if (!labels)
        return MU_OK;
    s->labels_path = mu_format("%s/%s.labels", dir, name);
    return create(&s->labels_path, &s->labels);
}

mu_status_t mu_spool_add(mu_spool_t *s, const int32_t *ids, const unsigned char *labels, size_t n,
                         uint64_t text_bytes)
{
    enum { CHUNK = 4096 };
    uint16_t narrow[CHUNK];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t m = n - at < CHUNK ? n - at : CHUNK;
        const void *bytes = ids + at;
        if (s->width == 2) {
            for (size_t i = 0; i < m; i++)
                narrow[i] = (uint16_t)ids[at + i];
            bytes = narrow;
        }
        if (fwrite(bytes, (size_t)s->width, m, s->tokens) != m)
            return io_error(s->tokens_path, "write");
    }
    if (s->labels && fwrite(labels, 1, n, s->labels) != n)
        return io_error(s->labels_path, "write");
    mu_spooled_t doc = {(int64_t)n, text_bytes};
    if (fwrite(&doc, sizeof doc, 1, s->documents) != 1)
        return io_error(s->documents_path, "write");
    s->count++;
    return MU_OK;
}

static mu_status_t reopen(FILE **file, const char *path, int *fd)
{
    FILE *f = *file;
    *file = NULL;
    if (fclose(f) != 0)
        return io_error(path, "write");
    *fd = open(path, O_RDWR | O_CLOEXEC);
    return *fd < 0 ? io_error(path, "open") : MU_OK;
}

mu_status_t mu_spool_rewind(mu_spool_t *s)
{
    MU_TRY(reopen(&s->tokens, s->tokens_path, &s->tokens_fd));
    if (s->labels)
        MU_TRY(reopen(&s->labels, s->labels_path, &s->labels_fd));
    return reopen(&s->documents, s->documents_path, &s->documents_fd);
}

mu_status_t mu_spool_documents(const mu_spool_t *s, int64_t first, int64_t n, mu_spooled_t *out)
{
    bool good =
        mu_pread_all(s->documents_fd, out, (size_t)n * sizeof *out, (off_t)(first * (int64_t)sizeof *out));
    return good ? MU_OK : io_error(s->documents_path, "read");
}

static mu_status_t read_once(int fd, const char *path, int64_t at, size_t bytes, void *out)
{
    if (!mu_pread_all(fd, out, bytes, (off_t)at))
        return io_error(path, "read");
    /* where that cannot be done, the room comes back at the end */
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)bytes);
    return MU_OK;
}

mu_status_t mu_spool_tokens(const mu_spool_t *s, int64_t at, size_t bytes, void *out)
{
    return read_once(s->tokens_fd, s->tokens_path, at, bytes, out);
}

mu_status_t mu_spool_labels(const mu_spool_t *s, int64_t at, size_t n, unsigned char *out)
{
    return read_once(s->labels_fd, s->labels_path, at, n, out);
}

static void remove_one(FILE *file, int fd, char *path)
{
    if (file)
        fclose(file);
    if (path && fd >= 0)
        close(fd);
    if (path)
        unlink(path);
    free(path);
}

void mu_spool_remove(mu_spool_t *s)
{
    remove_one(s->tokens, s->tokens_fd, s->tokens_path);
    remove_one(s->documents, s->documents_fd, s->documents_path);
    remove_one(s->labels, s->labels_fd, s->labels_path);
    *s = (mu_spool_t){0};
}
