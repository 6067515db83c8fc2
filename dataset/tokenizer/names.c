#include "dataset/tokenizer/names.h"
#include "common/buf.h"

#include <xxhash.h>

void mu_names_init(mu_names_t *names, size_t count)
{
    size_t size = 16;
    while (size < count * 2)
        size *= 2;
    names->mask = size - 1;
    names->slots = mu_alloc(size * sizeof *names->slots);
    for (size_t i = 0; i < size; i++)
        names->slots[i] = -1;
}

void mu_names_release(mu_names_t *names)
{
    free(names->slots);
    *names = (mu_names_t){NULL, 0};
}

/* The slot of these bytes, or the empty one where they belong. */
static size_t slot_of(const mu_names_t *names, mu_name_fn name, const void *arg, const void *bytes, size_t n)
{
    size_t i = (size_t)XXH3_64bits(bytes, n) & names->mask;
    for (; names->slots[i] >= 0; i = (i + 1) & names->mask) {
        size_t length;
        const char *other = name(arg, names->slots[i], &length);
        if (length == n && memcmp(other, bytes, n) == 0)
            break;
    }
    return i;
}

void mu_names_add(mu_names_t *names, mu_name_fn name, const void *arg, int32_t id)
{
    size_t n;
    const char *bytes = name(arg, id, &n);
    names->slots[slot_of(names, name, arg, bytes, n)] = id;
}

int32_t mu_names_find(const mu_names_t *names, mu_name_fn name, const void *arg, const void *bytes, size_t n)
{
    return names->slots[slot_of(names, name, arg, bytes, n)];
}
