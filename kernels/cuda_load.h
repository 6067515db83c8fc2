/*
 * Opening the CUDA part at run time.
 *
 *     mu_device_t *device;
 *     mu_status_t status = mu_device_cuda_new(0, &device);     MU_GPU: said why
 *
 * The library is the file that MUSTER_CUDA_LIBRARY names, else libmuster-cuda.so beside the program, else
 * ../lib/muster/libmuster-cuda.so from there. It stays open until the process ends.
 *
 * Errors: MU_GPU when the library is absent, was built for another version, or finds no driver or GPU. The
 * message says which, and what to do.
 *
 * Thread safety: the first call is made before there are threads.
 */
#ifndef MU_KERNELS_CUDA_LOAD_H
#define MU_KERNELS_CUDA_LOAD_H

#include "kernels/cuda_plugin.h"

mu_status_t mu_cuda_open(const mu_cuda_plugin_t **out);
/* Whether the library is there at all; says nothing. */
bool mu_cuda_present(void);
mu_status_t mu_device_cuda_new(int index, mu_device_t **out);

#endif
