#include "common/checkpoint/copies.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

char *mu_copies_slot(const char *dir, int slot)
{
    return mu_format("%s/%d", dir, slot);
}

char *mu_copies_whole(const char *dir)
{
    return mu_path_join(dir, "whole");
}

static char *piece_path(const char *dir, int slot, const char *name, bool whole)
{
    return mu_format("%s/%d/%s%s", dir, slot, name, whole ? "" : ".tmp");
}

/* /dev/shm is everybody's: a folder that another user made is not entered. */
static mu_status_t make_private(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return mu_fail(MU_IO, "%s: cannot make directory: %s", path, strerror(errno));
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return mu_fail(MU_IO, "%s: is there, but is not a private folder of ours", path);
    return MU_OK;
}

mu_status_t mu_copies_make(const char *dir)
{
    char *parent = mu_strdup(dir), *slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    mu_status_t status = make_private(parent);
    if (status == MU_OK)
        status = make_private(dir);
    for (int slot = 0; status == MU_OK && slot < MU_COPY_SLOTS; slot++) {
        char *path = mu_copies_slot(dir, slot);
        status = make_private(path);
        free(path);
    }
    free(parent);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* ---- what is there ---- */

/* A line "KEY VALUE" of a shard's header. */
static bool header_line(const char *header, const char *key, char *out, size_t size)
{
    const char *at = strstr(header, key);
    size_t n = at ? strcspn(at + strlen(key), "\n") : 0;
    if (n == 0 || n >= size)
        return false;
    memcpy(out, at + strlen(key), n);
    out[n] = '\0';
    return true;
}

static bool read_piece(int slot_dir, const char *name, mu_copy_entry_t *out)
{
    char found[MU_SHARD_HEADER + 1] = "", want[MU_SHARD_HEADER], step[24], attempt[24];
    struct stat st;
    int fd = openat(slot_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
              mu_pread_all(fd, found, MU_SHARD_HEADER, 0) &&
              header_line(found, "\nrun ", out->id.run_id, sizeof out->id.run_id) &&
              header_line(found, "\nstep ", step, sizeof step) &&
              header_line(found, "\nattempt ", attempt, sizeof attempt) &&
              mu_parse_i64(step, &out->id.step) && mu_parse_i64(attempt, &out->id.attempt);
    if (fd >= 0)
        close(fd);
    if (!ok)
        return false;
    mu_shard_header(out->id.run_id, out->id.step, (int)out->id.attempt, name, want);
    out->size = (uint64_t)st.st_size;
    return memcmp(found, want, sizeof want) == 0;
}

static bool read_manifest(const char *path, mu_copy_entry_t *out)
{
    mu_buf_t text = MU_BUF_INIT, why = MU_BUF_INIT;
    mu_manifest_t m;
    bool ok = mu_is_file(path) && mu_file_read(path, MU_MANIFEST_LIMIT, &text) == MU_OK &&
              mu_manifest_parse(text.data, text.len, &m, &why);
    if (ok) {
        ok = strlen(m.info.run_id) < sizeof out->id.run_id;
        snprintf(out->id.run_id, sizeof out->id.run_id, "%s", m.info.run_id);
        out->id.step = m.info.step;
        out->id.attempt = m.info.attempt;
        out->workers = m.shard_count;
        out->size = text.len;
        mu_manifest_release(&m);
    }
    mu_buf_release(&text);
    mu_buf_release(&why);
    return ok;
}

void mu_copies_list(const char *dir, mu_copy_entry_t **out, int *count)
{
    *out = NULL;
    *count = 0;
    for (int slot = 0; slot < MU_COPY_SLOTS; slot++) {
        char *path = mu_copies_slot(dir, slot);
        DIR *stream = opendir(path);
        for (struct dirent *e; stream && (e = readdir(stream));) {
            mu_copy_entry_t entry = {.slot = slot};
            char *file = mu_path_join(path, e->d_name);
            bool manifest = strcmp(e->d_name, MU_MANIFEST_NAME) == 0;
            snprintf(entry.name, sizeof entry.name, "%.128s", e->d_name);
            if (manifest ? read_manifest(file, &entry)
                         : ends_with(e->d_name, ".h5") && read_piece(dirfd(stream), e->d_name, &entry)) {
                *out = mu_realloc(*out, sizeof **out * (size_t)(*count + 1));
                (*out)[(*count)++] = entry;
            }
            free(file);
        }
        if (stream)
            closedir(stream);
        free(path);
    }
}

static bool is_kept(const char *name, char (*keep)[MU_SHARD_NAME], int n)
{
    if (strcmp(name, MU_MANIFEST_NAME) == 0)
        return true;
    size_t length = strlen(name) - (ends_with(name, ".tmp") ? strlen(".tmp") : 0);
    for (int i = 0; i < n; i++)
        if (strlen(keep[i]) == length && strncmp(keep[i], name, length) == 0)
            return true;
    return false;
}

void mu_copies_sweep(const char *dir, char (*keep)[MU_SHARD_NAME], int n)
{
    for (int slot = 0; slot < MU_COPY_SLOTS; slot++) {
        char *path = mu_copies_slot(dir, slot);
        DIR *stream = opendir(path);
        for (struct dirent *e; stream && (e = readdir(stream));)
            if (e->d_name[0] != '.' && !is_kept(e->d_name, keep, n))
                (void)unlinkat(dirfd(stream), e->d_name, 0);
        if (stream)
            closedir(stream);
        free(path);
    }
}

/* ---- what all hosts hold ---- */

bool mu_copy_same(const mu_copy_id_t *a, const mu_copy_id_t *b)
{
    return a->step == b->step && a->attempt == b->attempt && strcmp(a->run_id, b->run_id) == 0;
}

int mu_copies_pieces(const mu_copy_entry_t *entries, int n, const mu_copy_id_t *id, int *out)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        bool wanted = entries[i].workers == 0 && mu_copy_same(&entries[i].id, id);
        for (int k = 0; wanted && k < count; k++)
            wanted = strcmp(entries[out[k]].name, entries[i].name) != 0;
        if (wanted)
            out[count++] = i;
    }
    return count;
}

static bool newer(const mu_copy_id_t *a, const mu_copy_id_t *b)
{
    return a->step != b->step ? a->step > b->step : a->attempt > b->attempt;
}

bool mu_copies_newest(const mu_copy_entry_t *entries, int n, mu_copy_set_t *out, bool *whole)
{
    bool any = false;
    int *pieces = mu_calloc((size_t)n + 1, sizeof *pieces);
    *whole = false;
    for (int i = 0; i < n; i++) {
        const mu_copy_entry_t *e = &entries[i];
        if (e->workers == 0 || (any && *whole && !newer(&e->id, &out->id)))
            continue;
        mu_copy_set_t set = {.id = e->id,
                             .workers = e->workers,
                             .manifest = i,
                             .slot = e->slot,
                             .have = mu_copies_pieces(entries, n, &e->id, pieces)};
        bool complete = set.have == set.workers;
        if (!any || (complete && !*whole) || (complete == *whole && newer(&set.id, &out->id)))
            *out = set;
        *whole = *whole || complete;
        any = true;
    }
    free(pieces);
    return any;
}

/* ---- pieces ---- */

/* Whichever of both names has that size; -1: none. */
static int open_piece(const char *dir, int slot, const char *name, uint64_t size)
{
    for (int whole = 1; whole >= 0; whole--) {
        char *path = piece_path(dir, slot, name, whole);
        struct stat st;
        int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        bool fits = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
        if (fd >= 0 && !fits) {
            close(fd);
            (void)unlink(path);
        }
        free(path);
        if (fits)
            return fd;
    }
    return -1;
}

uint64_t mu_copy_piece_there(const char *dir, const char *name, uint64_t size)
{
    uint64_t there = 0;
    for (int slot = 0; slot < MU_COPY_SLOTS; slot++) {
        int fd = open_piece(dir, slot, name, size);
        there += fd >= 0 ? size : 0;
        if (fd >= 0)
            close(fd);
    }
    return there;
}

/* All pages are promised before one is touched: a full /dev/shm would else end the process by a signal. */
static mu_status_t map_file(const char *path, int fd, uint64_t size, char **out)
{
    int error = posix_fallocate(fd, 0, (off_t)size);
    void *memory = MAP_FAILED;
    if (error == 0) {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = errno;
    }
    if (memory == MAP_FAILED)
        return mu_fail(MU_IO, "%s: no memory for its %llu bytes: %s", path, (unsigned long long)size,
                       strerror(error));
    *out = memory;
    return MU_OK;
}

static mu_status_t map_slot(const char *dir, int slot, mu_copy_piece_t *piece)
{
    char *path = piece_path(dir, slot, piece->name, false);
    mu_status_t status;
    int fd = open_piece(dir, slot, piece->name, piece->size);
    if (fd < 0)
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        status = mu_fail(MU_IO, "%s: cannot create: %s", path, strerror(errno));
    } else {
        status = map_file(path, fd, piece->size, &piece->bytes[slot]);
        close(fd);
    }
    free(path);
    return status;
}

mu_status_t mu_copy_piece_map(const char *dir, const char *name, uint64_t size, mu_copy_piece_t *out)
{
    mu_copy_piece_t piece = {.size = size};
    mu_status_t status = MU_OK;
    snprintf(piece.name, sizeof piece.name, "%s", name);
    for (int slot = 0; status == MU_OK && slot < MU_COPY_SLOTS; slot++)
        status = map_slot(dir, slot, &piece);
    if (status == MU_OK)
        *out = piece;
    else
        mu_copy_piece_unmap(&piece);
    return status;
}

void mu_copy_piece_unmap(mu_copy_piece_t *piece)
{
    for (int slot = 0; slot < MU_COPY_SLOTS; slot++) {
        if (piece->bytes[slot])
            munmap(piece->bytes[slot], piece->size);
        piece->bytes[slot] = NULL;
    }
}

static mu_status_t rename_piece(const char *dir, const mu_copy_piece_t *piece, int slot, bool to_whole)
{
    char *from = piece_path(dir, slot, piece->name, !to_whole),
         *to = piece_path(dir, slot, piece->name, to_whole);
    mu_status_t status = MU_OK;
    if (rename(from, to) != 0 && (to_whole || errno != ENOENT || access(to, F_OK) != 0))
        status = mu_fail(MU_IO, "%s: cannot rename to '%s': %s", from, to, strerror(errno));
    free(from);
    free(to);
    return status;
}

mu_status_t mu_copy_piece_begin(const char *dir, const mu_copy_piece_t *piece, int slot)
{
    return rename_piece(dir, piece, slot, false);
}

mu_status_t mu_copy_piece_end(const char *dir, const mu_copy_piece_t *piece, int slot)
{
    return rename_piece(dir, piece, slot, true);
}

/* ---- the whole, for a start ---- */

mu_status_t mu_copies_whole_begin(const char *dir)
{
    char *path = mu_copies_whole(dir);
    mu_status_t status = mu_remove_tree(path);
    if (status == MU_OK)
        status = make_private(path);
    free(path);
    return status;
}

mu_status_t mu_copies_whole_link(const char *dir, const mu_copy_entry_t *entry)
{
    char *from = piece_path(dir, entry->slot, entry->name, true),
         *to = mu_format("%s/whole/%s", dir, entry->name);
    mu_status_t status = MU_OK;
    if (link(from, to) != 0)
        status = mu_fail(MU_IO, "%s: cannot be linked to '%s': %s", from, to, strerror(errno));
    free(from);
    free(to);
    return status;
}

mu_status_t mu_copies_whole_map(const char *dir, const char *name, uint64_t size, char **out)
{
    char *path = mu_format("%s/whole/%s", dir, name);
    mu_status_t status;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        status = mu_fail(MU_IO, "%s: cannot open: %s", path, strerror(errno));
    else
        status = map_file(path, fd, size, out);
    if (fd >= 0)
        close(fd);
    free(path);
    return status;
}

void mu_copies_whole_unmap(char *bytes, uint64_t size)
{
    if (bytes)
        munmap(bytes, size);
}

void mu_copies_whole_end(const char *dir)
{
    char *path = mu_copies_whole(dir);
    (void)mu_remove_tree(path);
    free(path);
}
