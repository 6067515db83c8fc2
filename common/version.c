#include "common/version.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/revision.h"
#include "common/stdio_setup.h"

#include <jansson.h>
#include <string.h>

/* From CMake (common/CMakeLists.txt). NCCL is opened at run time, so its version is not one of the build. */
static const struct {
    const char *name, *key, *version;
} libraries[] = {{"MPI", "mpi", MU_BUILT_MPI},
                 {"oneDNN", "onednn", MU_BUILT_ONEDNN},
                 {"HDF5", "hdf5", MU_BUILT_HDF5},
                 {"CUDA", "cuda", MU_BUILT_CUDA},
                 {"NCCL", "nccl", MU_BUILT_NCCL}};
enum { LIBRARIES = sizeof libraries / sizeof *libraries };

static void write_text(const char *program, mu_buf_t *out)
{
    mu_buf_addf(out, "%s %s\n", program, MU_VERSION);
    mu_buf_addf(out, "  %-8s%s%s\n", "commit", *mu_build_revision ? mu_build_revision : "unknown",
                mu_build_changed ? ", changed" : "");
    for (int i = 0; i < LIBRARIES; i++)
        mu_buf_addf(out, "  %-8s%s\n", libraries[i].name, libraries[i].version);
}

static void write_json(const char *program, mu_buf_t *out)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:b}", "program", program, "version", MU_VERSION, "commit",
                          mu_build_revision, "changed", mu_build_changed);
    for (int i = 0; i < LIBRARIES; i++)
        json_object_set_new(o, libraries[i].key, json_string(libraries[i].version));
    char *text = json_dumps(o, 0);
    mu_buf_addf(out, "%s\n", text);
    free(text);
    json_decref(o);
}

mu_status_t mu_version_print(int argc, char **argv, const char *program)
{
    mu_buf_t out = MU_BUF_INIT;
    bool json = argc == 3 && strcmp(argv[2], "--json") == 0;
    if (argc > 2 && !json)
        return mu_fail(MU_USAGE, "--version: '%s': wanted --json or nothing", argv[2]);
    if (json)
        write_json(program, &out);
    else
        write_text(program, &out);
    mu_status_t status = mu_stdio_write(&out);
    mu_buf_release(&out);
    return status;
}
