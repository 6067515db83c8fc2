#include "common/digest.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>
#include <xxhash.h>

struct mu_digest {
    XXH3_state_t *state;
};

mu_digest_t *mu_digest_new(void)
{
    mu_digest_t *digest = mu_alloc(sizeof *digest);
    digest->state = XXH3_createState();
    if (!digest->state || XXH3_128bits_reset(digest->state) != XXH_OK) {
        mu_error("out of memory: digest state");
        _Exit(mu_status_exit(MU_NOMEM));
    }
    return digest;
}

void mu_digest_add(mu_digest_t *digest, const void *bytes, size_t n)
{
    XXH3_128bits_update(digest->state, bytes, n);
}

static void to_hex(XXH128_hash_t hash, char out[MU_DIGEST_HEX])
{
    snprintf(out, MU_DIGEST_HEX, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

void mu_digest_hex(const mu_digest_t *digest, char out[MU_DIGEST_HEX])
{
    to_hex(XXH3_128bits_digest(digest->state), out);
}

void mu_digest_free(mu_digest_t *digest)
{
    if (digest) {
        XXH3_freeState(digest->state);
        free(digest);
    }
}

void mu_digest_bytes(const void *bytes, size_t n, char out[MU_DIGEST_HEX])
{
    to_hex(XXH3_128bits(bytes, n), out);
}

static mu_status_t digest_file(const char *path, bool metered, char out[MU_DIGEST_HEX])
{
    enum { BLOCK = 1 << 20 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mu_fail(mu_open_status(errno), "%s: cannot open: %s", path, strerror(errno));
    mu_digest_t *digest = mu_digest_new();
    char *block = mu_alloc(BLOCK);
    mu_status_t status = MU_OK;
    for (;;) {
        ssize_t n = read(fd, block, BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = mu_fail(MU_IO, "%s: cannot read: %s", path, strerror(errno));
        if (n <= 0)
            break;
        mu_digest_add(digest, block, (size_t)n);
        if (metered)
            mu_meter_add((uint64_t)n);
    }
    if (status == MU_OK)
        mu_digest_hex(digest, out);
    free(block);
    mu_digest_free(digest);
    close(fd);
    return status;
}

mu_status_t mu_digest_file(const char *path, char out[MU_DIGEST_HEX])
{
    return digest_file(path, false, out);
}

mu_status_t mu_digest_file_metered(const char *path, char out[MU_DIGEST_HEX])
{
    return digest_file(path, true, out);
}
