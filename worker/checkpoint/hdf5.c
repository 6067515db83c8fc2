#include <hdf5.h> /* first: it declares a field called ctime, which common/banned.h forbids */

#include "worker/checkpoint/hdf5.h"
#include "common/log.h"

/* libhdf5 prints its error stack on stderr unless told otherwise; the setting is global, so it is put back.
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

/* Logs libhdf5's innermost reason, which holds the system's errno text. */
static mu_status_t fail_hdf5(const char *path, const char *what)
{
    mu_buf_t why = MU_BUF_INIT;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &why);
    mu_status_t status =
        mu_fail(MU_IO, "%s: cannot %s: HDF5: %s", path, what, why.len ? why.data : "no reason given");
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

static bool has_numbers(hid_t object, const char *name, const int64_t *values, int n)
{
    int64_t found[2] = {-1, -1};
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return false;
    hid_t space = H5Aget_space(attribute);
    bool ok = H5Sget_simple_extent_npoints(space) == n && H5Aread(attribute, H5T_NATIVE_INT64, found) >= 0 &&
              memcmp(found, values, sizeof *values * (size_t)n) == 0;
    H5Sclose(space);
    H5Aclose(attribute);
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

static hid_t file_access(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_alignment(access, MU_SHARD_HEADER, MU_SHARD_HEADER);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(access, false, true); /* some NFS and Lustre mounts refuse flock; the name is ours */
#endif
    return access;
}

mu_status_t mu_hdf5_lay_out(const char *path, const mu_shard_plan_t *plan, const mu_slice_t *slices,
                            int count, uint64_t *at)
{
    mu_status_t status = MU_OK;
    mu_quiet_t before = be_quiet();
    hid_t access = file_access(), file_create = H5Pcreate(H5P_FILE_CREATE),
          create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_userblock(file_create, MU_SHARD_HEADER);
    H5Pset_layout(create, H5D_CONTIGUOUS);
    H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, file_create, access);
    if (file < 0) {
        status = fail_hdf5(path, "create");
        goto out;
    }
    bool ok = put_identity(file, plan);
    for (int s = 0; ok && s < (plan->optimizer ? MU_STATE_COUNT : 1); s++) {
        hid_t group = H5Gcreate2(file, mu_state_name((mu_state_t)s), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        ok = group >= 0 && H5Gclose(group) >= 0;
    }
    for (int i = 0; ok && i < count; i++) {
        mu_tensor_t tensor;
        mu_model_tensor(plan->model, slices[i].tensor, &tensor);
        ok = put_dataset(file, create, &tensor, &slices[i], &at[i]);
    }
    if (!ok)
        status = fail_hdf5(path, "lay out");
    if (H5Fclose(file) < 0 && status == MU_OK)
        status = fail_hdf5(path, "close");
out:
    H5Pclose(create);
    H5Pclose(file_create);
    H5Pclose(access);
    H5Eset_auto2(H5E_DEFAULT, before.function, before.data);
    return status;
}

static bool dataset_is(hid_t file, const mu_tensor_t *tensor, const mu_slice_t *slice, uint64_t at)
{
    char name[160];
    dataset_path(tensor, slice, name);
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0)
        return false;
    hsize_t dims[2] = {0, 1};
    hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    bool ok = space >= 0 && type >= 0 && H5Sget_simple_extent_ndims(space) == tensor->dims &&
              H5Sget_simple_extent_dims(space, dims, NULL) >= 0 && dims[0] == (hsize_t)slice->count[0] &&
              dims[1] == (hsize_t)slice->count[1] && H5Tequal(type, H5T_IEEE_F32LE) > 0 &&
              H5Dget_offset(dataset) == at &&
              has_numbers(dataset, "global_shape", tensor->shape, tensor->dims) &&
              has_numbers(dataset, "offset", slice->offset, tensor->dims);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(dataset);
    return ok;
}

mu_status_t mu_hdf5_check(const char *path, const mu_shard_plan_t *plan, const mu_slice_t *slices, int count,
                          const uint64_t *at)
{
    mu_status_t status = MU_OK;
    mu_quiet_t before = be_quiet();
    hid_t access = file_access(), file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file < 0) {
        status = fail_hdf5(path, "read back what was just laid out");
        goto out;
    }
    for (int i = 0; status == MU_OK && i < count; i++) {
        mu_tensor_t tensor;
        mu_model_tensor(plan->model, slices[i].tensor, &tensor);
        if (!dataset_is(file, &tensor, &slices[i], at[i]))
            status = mu_fail(
                MU_IO, "%s: dataset '%s/%s' does not read back as written: the volume lost a part of it",
                path, mu_state_name(slices[i].state), tensor.name);
    }
    H5Fclose(file);
out:
    H5Pclose(access);
    H5Eset_auto2(H5E_DEFAULT, before.function, before.data);
    return status;
}
