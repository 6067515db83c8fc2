/* What every operation on a CPU uses: the pool of threads and the scratch memory of its device. */
#include "kernels/cpu/cpu.h"
#include "common/num.h"

void mu_cpu_run(mu_device_t *dev, int64_t n, int64_t grain, mu_pool_job_t job, void *arg)
{
    mu_pool_run(mu_cpu(dev)->pool, n, grain, job, arg);
}

float *mu_cpu_scratch(mu_device_t *dev, int64_t floats)
{
    mu_cpu_t *cpu = mu_cpu(dev);
    if (floats <= cpu->scratch_floats)
        return cpu->scratch;
    /* by half at least: generation asks for a little more with every token */
    floats = mu_max_i64(floats, cpu->scratch_floats + cpu->scratch_floats / 2);
    mu_device_free(dev, cpu->scratch);
    cpu->scratch = NULL;
    cpu->scratch_floats = 0;
    void *p;
    mu_status_t status = mu_device_alloc(dev, MU_MEM_WORKSPACE, floats * (int64_t)sizeof(float), &p);
    if (status != MU_OK) {
        mu_device_error(dev, status);
        return NULL;
    }
    cpu->scratch = p;
    cpu->scratch_floats = floats;
    return p;
}
