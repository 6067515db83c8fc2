/* The file around the pickle (worker/convert/pickle.h): PREFIX/data.pkl, and one entry PREFIX/data/KEY a storage. */
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/convert/pickle.h"
#include "worker/convert/pickle_zip.h"

#include <errno.h>

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static mu_status_t read_entry(const mu_foreign_file_t *file, const mu_zip_entry_t *e, size_t limit,
                              mu_buf_t *out)
{
    if (e->size > limit)
        return mu_fail(MU_DATA, "%s: '%s' has %llu bytes, %zu are allowed", file->path, e->name,
                       (unsigned long long)e->size, limit);
    MU_TRY(mu_zip_check(file, e));
    mu_buf_reserve(out, e->size);
    if (!mu_pread_all(file->fd, out->data, e->size, (off_t)e->at))
        return mu_fail(MU_IO, "%s: cannot read: %s", file->path, strerror(errno));
    out->len = e->size;
    return MU_OK;
}

/* The folder in front of data.pkl; the file is called after its first name, whatever that was. */
static mu_status_t find_pickle(const mu_foreign_file_t *file, const mu_zip_t *zip, const mu_zip_entry_t **out)
{
    *out = NULL;
    for (int i = 0; i < zip->count; i++) {
        if (!ends_with(zip->entries[i].name, "/data.pkl"))
            continue;
        if (*out)
            return mu_fail(MU_DATA, "%s: holds two pickles", file->path);
        *out = &zip->entries[i];
    }
    return *out ? MU_OK
                : mu_fail(MU_DATA, "%s: holds no data.pkl: torch.save() did not write it", file->path);
}

static mu_status_t check_byte_order(const mu_foreign_file_t *file, const mu_zip_t *zip, const char *folder)
{
    char *name = mu_format("%sbyteorder", folder);
    const mu_zip_entry_t *e = mu_zip_find(zip, name);
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = e ? read_entry(file, e, 16, &text) : MU_OK; /* old files have none */
    if (status == MU_OK && e && (text.len != 6 || memcmp(text.data, "little", 6) != 0))
        status = mu_fail(MU_DATA, "%s: its values are not little-endian", file->path);
    mu_buf_release(&text);
    free(name);
    return status;
}

static mu_status_t add_tensor(const mu_pickle_tensor_t *t, const mu_zip_t *zip, const char *folder,
                              const char *prefix, mu_foreign_t *list)
{
    const mu_foreign_file_t *file = &list->files[list->file_count - 1];
    char *name = mu_format("%sdata/%s", folder, t->storage);
    const mu_zip_entry_t *e = mu_zip_find(zip, name);
    mu_status_t status = MU_OK;
    uint64_t bytes = 0;
    if (!e)
        status = mu_fail(MU_DATA, "%s: tensor '%s': '%s' is not there", file->path, t->name, name);
    else if (!mu_mul_u64((uint64_t)t->values, (uint64_t)t->element, &bytes) || bytes != e->size)
        status =
            mu_fail(MU_DATA, "%s: tensor '%s': '%s' has %llu bytes, its pickle says %lld values of %d",
                    file->path, t->name, name, (unsigned long long)e->size, (long long)t->values, t->element);
    free(name);
    MU_TRY(status);
    mu_foreign_tensor_t to = {.name = mu_format("%s%s", prefix, t->name),
                              .type = t->type,
                              .dims = t->dims,
                              .elements = t->elements,
                              .file = list->file_count - 1,
                              .at = e->at + (uint64_t)t->offset * (uint64_t)t->element};
    memcpy(to.shape, t->shape, sizeof to.shape);
    mu_foreign_add(list, &to);
    return MU_OK;
}

static mu_status_t add_all(const mu_zip_t *zip, const char *member, const char *prefix, mu_foreign_t *list)
{
    const mu_foreign_file_t *file = &list->files[list->file_count - 1];
    const mu_zip_entry_t *pkl = NULL;
    mu_buf_t bytes = MU_BUF_INIT;
    mu_pickle_t pickle = {NULL, 0};
    char *folder = NULL;
    mu_status_t status;
    MU_TRY_GOTO(status, find_pickle(file, zip, &pkl), out);
    folder = mu_format("%.*s", (int)(strlen(pkl->name) - strlen("data.pkl")), pkl->name);
    MU_TRY_GOTO(status, check_byte_order(file, zip, folder), out);
    MU_TRY_GOTO(status, read_entry(file, pkl, MU_PICKLE_MAX, &bytes), out);
    MU_TRY_GOTO(status,
                mu_pickle_read(file->path, (const unsigned char *)bytes.data, bytes.len, member, &pickle),
                out);
    for (int i = 0; status == MU_OK && i < pickle.count; i++)
        status = add_tensor(&pickle.tensors[i], zip, folder, prefix, list);
    for (int i = 0; status == MU_OK && i < zip->count; i++)
        status = mu_zip_check(file, &zip->entries[i]);
out:
    mu_pickle_release(&pickle);
    mu_buf_release(&bytes);
    free(folder);
    return status;
}

mu_status_t mu_torch_open(const char *path, const char *member, const char *prefix, mu_foreign_t *list)
{
    mu_zip_t zip = {NULL, 0};
    MU_TRY(mu_foreign_open(list, path));
    MU_TRY(mu_zip_open(&list->files[list->file_count - 1], &zip));
    mu_status_t status = add_all(&zip, member, prefix, list);
    mu_zip_release(&zip);
    return status;
}
