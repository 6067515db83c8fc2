/* Runs one case of unit/kernels/cases/ on the CUDA device: the program that a mutant must turn red. */
#include "kernels/cuda_load.h"
#include "tests/unit/kernels/cases/cases.h"

static mu_device_t *make(const void *arg)
{
    mu_device_t *made;
    (void)arg;
    return mu_device_cuda_new(0, &made) == MU_OK ? made : NULL;
}

int main(int argc, char **argv)
{
    const mu_case_device_t device = {make, NULL, 1};
    if (argc != 2)
        return 2;
    cmocka_set_test_filter(argv[1]);
    return mu_kernel_cases(&device, 1) == 0 ? 0 : 1;
}
