/* A library with libibverbs' names: devices mlx5_0 and mlx5_1, and the troubles that STAND_IN_IBVERBS lists. It
 * aborts when something is released twice, in a wrong order, or not at all. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICES = 2 };

static struct device {
    const char *name;
    int opened, domains, regions;
} devices[DEVICES] = {{"mlx5_0", 0, 0, 0}, {"mlx5_1", 0, 0, 0}};
static int lists;

static int has(const char *word)
{
    const char *list = getenv("STAND_IN_IBVERBS");
    return list && strstr(list, word);
}

static void must(int true_)
{
    if (!true_)
        abort();
}

void **ibv_get_device_list(int *count);
void ibv_free_device_list(void **list);
const char *ibv_get_device_name(void *device);
void *ibv_open_device(void *device);
int ibv_close_device(void *context);
void *ibv_alloc_pd(void *context);
int ibv_dealloc_pd(void *domain);
void *ibv_reg_mr(void *domain, void *address, size_t length, int access);
void *ibv_reg_dmabuf_mr(void *domain, uint64_t offset, size_t length, uint64_t iova, int fd, int access);
int ibv_dereg_mr(void *region);
int ibv_query_gid(void *context, uint8_t port, int index, unsigned char gid[16]);

void **ibv_get_device_list(int *count)
{
    int n = has("hidden") ? 0 : DEVICES;
    if (has("hang"))
        pause();
    void **list = calloc(DEVICES + 1, sizeof *list);
    for (int i = 0; list && i < n; i++)
        list[i] = &devices[i];
    if (count)
        *count = n;
    lists++;
    return list;
}

void ibv_free_device_list(void **list)
{
    must(lists-- > 0);
    for (int i = 0; i < DEVICES; i++)
        must(devices[i].opened == 0);
    free(list);
}

const char *ibv_get_device_name(void *device)
{
    return ((struct device *)device)->name;
}

/* The handles of a device: itself, and one byte further for each kind of thing that is made of it. */
void *ibv_open_device(void *device)
{
    if (has("closed")) {
        errno = ENODEV;
        return NULL;
    }
    ((struct device *)device)->opened++;
    return device;
}

int ibv_close_device(void *context)
{
    struct device *device = context;
    must(device->opened-- > 0 && device->domains == 0);
    return 0;
}

void *ibv_alloc_pd(void *context)
{
    struct device *device = context;
    must(device->opened > 0);
    if (has("domain")) {
        errno = ENOSPC;
        return NULL;
    }
    device->domains++;
    return (char *)context + 1;
}

int ibv_dealloc_pd(void *domain)
{
    struct device *device = (struct device *)(void *)((char *)domain - 1);
    must(device->domains-- > 0 && device->regions == 0);
    errno = EINVAL; /* whoever asks for errno later asks for the wrong one */
    return 0;
}

void *ibv_reg_mr(void *domain, void *address, size_t length, int access)
{
    struct device *device = (struct device *)(void *)((char *)domain - 1);
    must(device->domains > 0 && access == 1 && length > 8 << 20);
    memset(address, 0x5a, length);
    if (has("memlock") || has("refused")) {
        errno = has("memlock") ? ENOMEM : EPERM;
        return NULL;
    }
    device->regions++;
    return (char *)domain + 1;
}

void *ibv_reg_dmabuf_mr(void *domain, uint64_t offset, size_t length, uint64_t iova, int fd, int access)
{
    must(((struct device *)(void *)((char *)domain - 1))->domains > 0);
    must(offset == 0 && length == 0 && iova == 0 && fd == -1 && access == 0);
    errno = has("no_dmabuf") ? EOPNOTSUPP : EBADF;
    return NULL;
}

int ibv_dereg_mr(void *region)
{
    struct device *device = (struct device *)(void *)((char *)region - 2);
    must(device->regions-- > 0);
    return 0;
}

/* Index 0: fe80::506b:4b03:0:N; others: ::ffff:10.0.0.N, the first device 1. */
int ibv_query_gid(void *context, uint8_t port, int index, unsigned char gid[16])
{
    static const unsigned char local[15] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x6b, 0x4b, 3, 0, 0, 0};
    static const unsigned char mapped[15] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0};
    struct device *device = context;
    must(device->opened > 0 && port == 1 && index >= 0);
    if (has("no_gid")) {
        errno = EIO;
        return -1;
    }
    memcpy(gid, index == 0 ? local : mapped, 15);
    gid[15] = (unsigned char)(device - devices + 1 + (has("other_gid") ? 100 : 0));
    return 0;
}
