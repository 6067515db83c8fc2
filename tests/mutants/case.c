/* Runs one case of unit/kernels/cases/ on the CUDA device: the program that a mutant must turn red. A name that begins
 * with cudnn_ runs the rest of it with attention of cuDNN. */
#include "kernels/cuda_load.h"
#include "tests/unit/kernels/cases/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mu_device_t *make(const void *arg)
{
    const bool *cudnn = arg;
    const mu_cuda_plugin_t *cuda;
    mu_device_t *made;
    int version;
    if (mu_device_cuda_new(0, &made) != MU_OK)
        return NULL;
    if (!*cudnn)
        return made;
    /* muster's own kernels must not stand in for what cuDNN refuses */
    if (mu_cuda_open(&cuda) != MU_OK || cuda->cudnn_use(made, &version) != MU_OK)
        exit(1);
    for (int i = 0; i < 8; i++) {
        static const mu_attention_t single = {2, 64, 2, 16, 0.25, 0, NULL, NULL},
                                    grouped = {2, 64, 4, 16, 0.25, 2, NULL, NULL};
        char why[MU_CUDA_WHY];
        if (!cuda->cudnn_taken(made, i & 1 ? MU_DTYPE_BF16 : MU_DTYPE_F16, i & 2 ? &single : &grouped, i & 4,
                               why)) {
            fprintf(stderr, "cuDNN: %s\n", why);
            exit(1);
        }
    }
    return made;
}

int main(int argc, char **argv)
{
    static const char word[] = "cudnn_";
    const bool cudnn = argc == 2 && strncmp(argv[1], word, sizeof word - 1) == 0;
    const mu_case_device_t device = {make, &cudnn, 1};
    if (argc != 2)
        return 2;
    cmocka_set_test_filter(argv[1] + (cudnn ? sizeof word - 1 : 0));
    return mu_kernel_cases(&device, 1) == 0 ? 0 : 1;
}
