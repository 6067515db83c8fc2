#include "worker/convert/hf_tensors.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/half.h"
#include "common/log.h"
#include "common/num.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

mu_status_t mu_foreign_open(mu_foreign_t *list, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
    if (fd < 0)
        return mu_fail(mu_open_status(errno), "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return mu_fail(MU_DATA, "%s: is no regular file", path);
    }
    list->files = mu_realloc(list->files, (size_t)(list->file_count + 1) * sizeof *list->files);
    list->files[list->file_count++] =
        (mu_foreign_file_t){.path = mu_strdup(path), .fd = fd, .size = (uint64_t)st.st_size};
    return MU_OK;
}

void mu_foreign_add(mu_foreign_t *list, const mu_foreign_tensor_t *tensor)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 64;
        list->tensors = mu_realloc(list->tensors, (size_t)list->room * sizeof *list->tensors);
    }
    list->tensors[list->count++] = *tensor;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mu_foreign_tensor_t *)a)->name, ((const mu_foreign_tensor_t *)b)->name);
}

const char *mu_foreign_path(const mu_foreign_t *list, const mu_foreign_tensor_t *tensor)
{
    return list->files[tensor->file].path;
}

mu_status_t mu_foreign_sort(mu_foreign_t *list)
{
    if (list->count == 0)
        return MU_OK;
    qsort(list->tensors, (size_t)list->count, sizeof *list->tensors, by_name);
    for (int i = 1; i < list->count; i++)
        if (strcmp(list->tensors[i - 1].name, list->tensors[i].name) == 0)
            return mu_fail(MU_DATA, "%s: tensor '%s' is there twice, also in '%s'",
                           mu_foreign_path(list, &list->tensors[i]), list->tensors[i].name,
                           mu_foreign_path(list, &list->tensors[i - 1]));
    return MU_OK;
}

const mu_foreign_tensor_t *mu_foreign_find(const mu_foreign_t *list, const char *name)
{
    for (int low = 0, high = list->count; low < high;) {
        int mid = low + (high - low) / 2, order = strcmp(name, list->tensors[mid].name);
        if (order == 0)
            return &list->tensors[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

static mu_status_t read_bytes(const mu_foreign_t *list, const mu_foreign_tensor_t *tensor, uint64_t at,
                              void *out, size_t n)
{
    const mu_foreign_file_t *file = &list->files[tensor->file];
    if (mu_pread_all(file->fd, out, n, (off_t)at))
        return MU_OK;
    if (errno == EPROTO)
        return mu_fail(MU_DATA, "%s: ends inside tensor '%s': it has been cut since it was opened",
                       file->path, tensor->name);
    return mu_fail(MU_IO, "%s: cannot read: %s", file->path, strerror(errno));
}

mu_status_t mu_foreign_read(const mu_foreign_t *list, const mu_foreign_tensor_t *tensor, int64_t first,
                            int64_t n, float *out)
{
    enum { CHUNK = 16384 };
    uint16_t half[CHUNK];
    if (first < 0 || n < 0 || first > tensor->elements || n > tensor->elements - first)
        return mu_fail(MU_BUG, "tensor '%s': elements %lld to %lld of %lld", tensor->name, (long long)first,
                       (long long)(first + n), (long long)tensor->elements);
    if (tensor->type == MU_FOREIGN_F32) /* little-endian, as every host that this builds for */
        return read_bytes(list, tensor, tensor->at + (uint64_t)first * 4, out, (size_t)n * 4);
    if (tensor->type == MU_FOREIGN_OTHER)
        return mu_fail(MU_DATA, "%s: tensor '%s' is not of type fp32, fp16 or bf16",
                       mu_foreign_path(list, tensor), tensor->name);
    for (int64_t done = 0; done < n; done += CHUNK) {
        int64_t now = mu_min_i64(CHUNK, n - done);
        MU_TRY(read_bytes(list, tensor, tensor->at + (uint64_t)(first + done) * 2, half, (size_t)now * 2));
        for (int64_t i = 0; i < now; i++)
            out[done + i] =
                tensor->type == MU_FOREIGN_F16 ? mu_float_of_half(half[i]) : mu_float_of_bfloat16(half[i]);
    }
    return MU_OK;
}

void mu_foreign_release(mu_foreign_t *list)
{
    for (int i = 0; i < list->file_count; i++) {
        close(list->files[i].fd);
        free(list->files[i].path);
    }
    for (int i = 0; i < list->count; i++)
        free(list->tensors[i].name);
    free(list->files);
    free(list->tensors);
    *list = (mu_foreign_t)MU_FOREIGN_INIT;
}

const char *mu_foreign_shape(int dims, const int64_t *shape, char *out, size_t size)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_addc(&text, '[');
    for (int i = 0; i < dims; i++)
        mu_buf_addf(&text, "%s%lld", i ? ", " : "", (long long)shape[i]);
    mu_buf_addc(&text, ']');
    snprintf(out, size, "%s", text.data);
    mu_buf_release(&text);
    return out;
}
