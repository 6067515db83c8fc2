/*
 * A checkpoint by someone who knows every digest: a manifest without its digest, a NUL, and what lies after
 * the header of each of its files. The slices' digests become those of the bytes that lie there.
 */
#include "common/file.h"
#include "tests/fuzz/fuzz.h"
#include "common/checkpoint/checkpoint_reader.h"

enum { FILES = 4, FILE_MAX = 1 << 16, ELEMENTS = 4096 };

static void write_shard(const mu_manifest_t *m, mu_shard_t *s, const uint8_t *data, size_t n)
{
    uint8_t *file = mu_calloc(1, (size_t)s->size);
    size_t room = (size_t)s->size - MU_SHARD_HEADER;
    mu_shard_header(m->info.run_id, m->info.step, m->info.attempt, s->name, (char *)file);
    if (n > 0)
        memcpy(file + MU_SHARD_HEADER, data, n < room ? n : room);
    for (int i = 0; i < s->count; i++)
        mu_digest_bytes(file + s->slices[i].at, (size_t)mu_slice_bytes(&s->slices[i].slice),
                        s->slices[i].digest);
    free(fuzz_file(s->name, file, (size_t)s->size));
    free(file);
}

/* False when the files would be too large or too many to be worth it. */
static bool write_all(mu_manifest_t *m, const uint8_t *data, size_t n)
{
    mu_buf_t text = MU_BUF_INIT;
    for (int i = 0; i < m->shard_count; i++)
        if (i == FILES || m->shards[i].size > FILE_MAX)
            return false;
    for (int i = 0; i < m->shard_count; i++)
        write_shard(m, &m->shards[i], data, n);
    FUZZ_CHECK(mu_manifest_write(m, &text) == MU_OK);
    free(fuzz_file(MU_MANIFEST_NAME, text.data, text.len));
    mu_buf_release(&text);
    return true;
}

/* A tensor whole, and its last row alone: the same values. */
static void read_tensor(const mu_checkpoint_t *c, const mu_manifest_tensor_t *t, mu_state_t state)
{
    int64_t zero[2] = {0, 0}, last[2] = {t->shape[0] - 1, 0}, one[2] = {1, t->shape[1]};
    if (t->shape[0] * t->shape[1] > ELEMENTS)
        return;
    float whole[ELEMENTS], row[ELEMENTS];
    FUZZ_CHECK(mu_checkpoint_read(c, t->name, state, zero, t->shape, whole) == MU_OK);
    FUZZ_CHECK(mu_checkpoint_read(c, t->name, state, last, one, row) == MU_OK);
    FUZZ_CHECK(memcmp(row, whole + last[0] * t->shape[1], (size_t)t->shape[1] * sizeof *row) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_manifest_t m;
    mu_buf_t text = MU_BUF_INIT, why = MU_BUF_INIT;
    mu_checkpoint_t *c = NULL;
    char digest[MU_DIGEST_HEX];
    size_t length;
    char *body = fuzz_piece(&data, &n, &length);
    mu_digest_bytes(body, length, digest);
    mu_buf_add(&text, body, length);
    mu_buf_addf(&text, MU_MANIFEST_END, digest);
    fuzz_begin();
    if (mu_manifest_parse(text.data, text.len, &m, &why)) {
        bool written = write_all(&m, data, n);
        if (written && fuzz_ok(mu_checkpoint_open(fuzz_dir(), &c), MU_DATA, MU_NOINPUT)) {
            for (int i = 0; i < m.tensor_count; i++)
                for (int state = 0; state < (m.optimizer ? MU_STATE_COUNT : 1); state++)
                    read_tensor(c, &m.tensors[i], (mu_state_t)state);
            fuzz_begin();
            fuzz_ok(mu_checkpoint_verify(c, 0, 1), MU_DATA,
                    MU_NOINPUT); /* of the frames nothing is known here */
            mu_checkpoint_close(c);
        }
        mu_remove_tree(fuzz_dir());
        FUZZ_CHECK(mu_make_dirs(fuzz_dir(), 0700) == MU_OK);
        mu_manifest_release(&m);
    }
    mu_buf_release(&text);
    mu_buf_release(&why);
    free(body);
    return 0;
}
