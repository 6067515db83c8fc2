typedef int mu_kernels_empty_t;
