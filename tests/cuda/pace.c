/* How far the host runs ahead of the GPU: MU_DEVICE_AHEAD micro batches at most, with progress on the page for each
 * that is done, so that a step of minutes does not look hung. Labels standin and gpu. */
#include "kernels/cuda_load.h"
#include "worker/guard/page.h"
#include "worker/train/device_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { MICRO_BATCHES = 12, N = 1 << 20 };

static void the_host_waits_for_the_last_but_two(void **state)
{
    (void)state;
    mu_device_context_t context;
    mu_page_t page = {0};
    void *mark[MICRO_BATCHES];
    const mu_config_t config = {.muster.device = MU_DEVICE_CUDA};
    assert_int_equal(mu_device_context_alone(&config, &context), MU_OK);
    mu_device_t *dev = context.device;
    assert_int_equal(mu_cuda_open(&context.cuda), MU_OK);
    context.tp->page = &page;
    void *p;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, N * (int64_t)sizeof(float), &p), MU_OK);
    float *x = p;
    for (int i = 0; i < MICRO_BATCHES; i++) {
        int64_t before = page.progress;
        dev->ops->scale(dev, x, N, 0.5);
        assert_int_equal(context.cuda->mark_new(dev, context.cuda->stream(dev), &mark[i]), MU_OK);
        assert_int_equal(mu_device_context_pace(&context), MU_OK);
        assert_true(context.ahead_count <= MU_DEVICE_AHEAD);
        assert_int_equal(page.progress - before, i >= MU_DEVICE_AHEAD);
        if (i >= MU_DEVICE_AHEAD) {
            bool passed = false;
            assert_int_equal(context.cuda->mark_passed(dev, mark[i - MU_DEVICE_AHEAD], &passed), MU_OK);
            assert_true(passed);
        }
    }
    assert_int_equal(mu_device_context_wait(&context), MU_OK);
    assert_int_equal(page.progress, MICRO_BATCHES);
    for (int i = 0; i < MICRO_BATCHES; i++)
        context.cuda->mark_free(dev, mark[i]);
    mu_device_free(dev, x);
    context.tp->page = NULL;
    mu_device_context_free(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_host_waits_for_the_last_but_two)};
    const mu_cuda_plugin_t *cuda;
    int count = 0;
    if (!mu_cuda_present() || mu_cuda_open(&cuda) != MU_OK || cuda->device_count(&count) != MU_OK ||
        count == 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
