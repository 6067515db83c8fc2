#include <hdf5.h> /* first: it names functions that common/banned.h bans */

#include "common/log.h"
#include "dataset/store/shard_file.h"

#include <sys/stat.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "shards are little-endian, and are read as they lie");

void mu_data_shard_name(mu_data_split_t split, int number, char out[32])
{
    snprintf(out, 32, "%s-%05d.h5", mu_data_split_name(split), number);
}

/* One contiguous dataset; *at is the offset of its bytes. Without times in its header, so that the same data
 * give the same file. */
static bool lay_out_one(hid_t file, const char *name, hid_t type, int64_t n, int64_t *at)
{
    hsize_t dims[1] = {(hsize_t)n};
    hid_t space = H5Screate_simple(1, dims, NULL), how = H5Pcreate(H5P_DATASET_CREATE), set = -1;
    haddr_t where = HADDR_UNDEF;
    if (space >= 0 && how >= 0 && H5Pset_layout(how, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(how, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(how, false) >= 0)
        set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (set >= 0)
        where = H5Dget_offset(set);
    bool closed = set >= 0 && H5Dclose(set) >= 0;
    if (how >= 0)
        H5Pclose(how);
    if (space >= 0)
        H5Sclose(space);
    *at = (int64_t)where;
    return closed && where != HADDR_UNDEF;
}

static bool lay_out(const char *path, int token_bytes, bool labels, mu_data_shard_t *shard)
{
    bool good = false;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = -1;
    if (access >= 0 && H5Pset_alignment(access, 4096, 4096) >= 0 &&
        H5Pset_file_locking(access, false, true) >= 0)
        file = H5Fcreate(path, H5F_ACC_EXCL, H5P_DEFAULT, access);
    if (file >= 0) {
        hid_t type = token_bytes == 2 ? H5T_STD_U16LE : H5T_STD_U32LE;
        good = lay_out_one(file, "tokens", type, shard->tokens, &shard->tokens_at) &&
               lay_out_one(file, "documents", H5T_STD_I64LE, shard->documents + 1, &shard->documents_at) &&
               lay_out_one(file, "blocks", H5T_STD_U64LE, mu_data_shard_blocks(shard->tokens),
                           &shard->blocks_at) &&
               (!labels || (lay_out_one(file, "labels", H5T_STD_U8LE, shard->tokens, &shard->labels_at) &&
                            lay_out_one(file, "label_blocks", H5T_STD_U64LE,
                                        mu_data_shard_blocks(shard->tokens), &shard->label_blocks_at)));
        good = H5Fclose(file) >= 0 && good;
    }
    if (access >= 0)
        H5Pclose(access);
    return good;
}

mu_status_t mu_data_shard_lay_out(const char *path, int token_bytes, bool labels, mu_data_shard_t *shard)
{
    H5E_auto2_t print;
    void *arg;
    struct stat st;
    H5Eget_auto2(H5E_DEFAULT, &print, &arg); /* its stack of errors says less than one line of ours */
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    bool good = lay_out(path, token_bytes, labels, shard);
    H5Eset_auto2(H5E_DEFAULT, print, arg);
    if (!good || stat(path, &st) != 0)
        return mu_fail(MU_IO, "%s: cannot make the HDF5 file: is the disk full?", path);
    shard->bytes = st.st_size;
    return MU_OK;
}

void mu_data_manifest_version(mu_data_manifest_t *m)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_addf(&text, "%s %d\nvocab %lld\ntokenizer %s\n", MU_DATASET_FORMAT,
                m->labels ? MU_DATASET_FORMAT_LABELS : MU_DATASET_FORMAT_VERSION, (long long)m->vocab,
                m->tokenizer_file ? m->tokenizer_digest : "none");
    for (int i = 0; i < m->count; i++) {
        const mu_data_shard_t *s = &m->shards[i];
        mu_buf_addf(&text, "%s %lld %lld %llu %s\n", mu_data_split_name(s->split), (long long)s->documents,
                    (long long)s->tokens, (unsigned long long)s->text_bytes, s->tables);
    }
    mu_digest_bytes(text.data, text.len, m->version);
    mu_buf_release(&text);
}

void mu_data_manifest_free(mu_data_manifest_t *m)
{
    free(m->split);
    free(m->tokenizer_file);
    free(m->shards);
    json_decref(m->made);
    json_decref(m->chat);
    *m = (mu_data_manifest_t){0};
}
