#include <hdf5.h> /* first: it declares a field called ctime, which common/banned.h forbids */

#include "common/checkpoint/hdf5.h"
#include "common/log.h"

/* The library's cleanup at exit crashes on a file that could not be closed for want of room. All are closed here. To be
 * said before its first call. */
__attribute__((constructor)) static void no_cleanup_at_exit(void)
{
    H5dont_atexit();
}

/* libhdf5 prints its error stack on stderr unless that is switched off; the setting is global, so it is put back.
 */
typedef struct mu_quiet {
    H5E_auto2_t function;
    void *data;
} mu_quiet_t;

static mu_quiet_t be_quiet(void)
{
    mu_quiet_t before = {NULL, NULL};
    H5Eget_auto2(H5E_DEFAULT, &before.function, &before.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return before;
}

static herr_t keep_innermost(unsigned n, const H5E_error2_t *error, void *text)
{
    if (n == 0)
        mu_buf_adds(text, error->desc ? error->desc : "no reason given");
    return 0;
}

/* Logs libhdf5's innermost reason. */
static mu_status_t fail_hdf5(const char *what)
{
    mu_buf_t why = MU_BUF_INIT;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &why);
    mu_status_t status = mu_fail(MU_IO, "checkpoint shard: cannot %s its outline in memory: HDF5: %s", what,
                                 why.len ? why.data : "no reason given");
    mu_buf_release(&why);
    return status;
}

static bool put_numbers(hid_t object, const char *name, const int64_t *values, int n)
{
    hsize_t dims = (hsize_t)n;
    hid_t space = H5Screate_simple(1, &dims, NULL);
    hid_t attribute = H5Acreate2(object, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, values) >= 0;
    if (attribute >= 0)
        ok = H5Aclose(attribute) >= 0 && ok;
    H5Sclose(space);
    return ok;
}

static bool put_text(hid_t object, const char *name, const char *text)
{
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(text) + 1);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, type, text) >= 0;
    if (attribute >= 0)
        ok = H5Aclose(attribute) >= 0 && ok;
    H5Tclose(type);
    H5Sclose(space);
    return ok;
}

static bool put_identity(hid_t file, const mu_shard_plan_t *plan)
{
    int64_t layout[2] = {plan->tp, plan->dp}, rank[2] = {plan->tp_rank, plan->dp_rank};
    return put_text(file, "format", "muster-checkpoint") && put_text(file, "run_id", plan->run_id) &&
           put_numbers(file, "step", &plan->step, 1) && put_numbers(file, "layout", layout, 2) &&
           put_numbers(file, "rank", rank, 2);
}

static void dataset_path(const mu_tensor_t *tensor, const mu_slice_t *slice, char out[160])
{
    snprintf(out, 160, "%s/%s", mu_state_name(slice->state), tensor->name);
}

/* One dataset with its two attributes; its byte in the file. */
static bool put_dataset(hid_t file, hid_t create, const mu_tensor_t *tensor, const mu_slice_t *slice,
                        uint64_t *at)
{
    char name[160];
    dataset_path(tensor, slice, name);
    hsize_t dims[2] = {(hsize_t)slice->count[0], (hsize_t)slice->count[1]};
    hid_t space = H5Screate_simple(tensor->dims, dims, NULL);
    hid_t dataset = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    H5Sclose(space);
    if (dataset < 0)
        return false;
    bool ok = put_numbers(dataset, "global_shape", tensor->shape, tensor->dims) &&
              put_numbers(dataset, "offset", slice->offset, tensor->dims);
    haddr_t address = H5Dget_offset(dataset);
    *at = address;
    return H5Dclose(dataset) >= 0 && ok && address != HADDR_UNDEF;
}

mu_status_t mu_hdf5_lay_out(int memory, const mu_shard_plan_t *plan, const mu_slice_t *slices, int count,
                            uint64_t *at)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    mu_status_t status = MU_OK;
    mu_quiet_t before = be_quiet();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file_create = H5Pcreate(H5P_FILE_CREATE),
          create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_fapl_stdio(access); /* the one driver that does not look for the real path of a name in /proc */
    /* the oldest format, libhdf5's default before version 2: without checksums of metadata (layout.c changes some) */
    H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST);
    H5Pset_alignment(access, MU_SHARD_HEADER, MU_SHARD_HEADER);
    H5Pset_userblock(file_create, MU_SHARD_HEADER);
    H5Pset_layout(create, H5D_CONTIGUOUS);
    H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, file_create, access);
    if (file < 0) {
        status = fail_hdf5("create");
        goto out;
    }
    bool ok = put_identity(file, plan);
    for (int s = 0; ok && s < (plan->optimizer ? MU_STATE_COUNT : 1); s++) {
        hid_t group = H5Gcreate2(file, mu_state_name((mu_state_t)s), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        ok = group >= 0 && H5Gclose(group) >= 0;
    }
    for (int i = 0; ok && i < count; i++) {
        mu_tensor_t tensor;
        mu_model_tensor(plan->model, mu_model_saved_first(plan->model) + slices[i].tensor, &tensor);
        ok = put_dataset(file, create, &tensor, &slices[i], &at[i]);
    }
    if (!ok)
        status = fail_hdf5("fill");
    if (H5Fclose(file) < 0 && status == MU_OK)
        status = fail_hdf5("close");
out:
    H5Pclose(create);
    H5Pclose(file_create);
    H5Pclose(access);
    H5Eset_auto2(H5E_DEFAULT, before.function, before.data);
    return status;
}
