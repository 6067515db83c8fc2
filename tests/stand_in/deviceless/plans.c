/* The machine's own cuDNN makes plans of attention for cards that are not there, of the very graphs that a run gives
 * it: descriptors, forms, strides, engines with the same bits and workspace are as it wants them. Nothing is run. */
#include "kernels/cuda_load.h"
#include "common/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const mu_cuda_plugin_t *cuda;

static mu_device_t *make(const char *card)
{
    int version;
    mu_device_t *dev;
    setenv("STAND_IN_CUDA", card, 1);
    assert_int_equal(mu_device_cuda_new(0, &dev), MU_OK);
    assert_int_equal(cuda->cudnn_use(dev, &version), MU_OK);
    printf("cuDNN %d, %s\n", version, card);
    return dev;
}

static void plan(mu_device_t *dev, mu_dtype_t type, mu_attention_t shape, bool backward)
{
    char why[MU_CUDA_WHY];
    if (!cuda->cudnn_taken(dev, type, &shape, backward, why))
        fail_msg("%lld x %lld tokens, %lld heads of %lld (%lld of keys), backward %d: %s",
                 (long long)shape.batch, (long long)shape.seq, (long long)shape.heads,
                 (long long)shape.head_dim, (long long)shape.kv_heads, backward, why);
}

/* Many heads, grouped ones, one of keys for all, wide ones, and a sequence that ends inside a tile. */
static void plans_of_every_shape_are_made(void **state)
{
    (void)state;
    static const mu_attention_t shape[] = {{8, 2048, 16, 128, 0.1, 0, NULL, NULL},
                                           {4, 2048, 32, 64, 0.1, 8, NULL, NULL},
                                           {2, 1000, 8, 80, 0.1, 1, NULL, NULL},
                                           {1, 512, 4, 256, 0.1, 0, NULL, NULL}};
    mu_device_t *dev = make("sm=90");
    for (int i = 0; i < 8; i++)
        plan(dev, i / 2 % 2 ? MU_DTYPE_F16 : MU_DTYPE_BF16, shape[i / 2], i % 2 != 0);
    mu_device_close(dev);
}

static void plans_for_other_cards_are_made(void **state)
{
    (void)state;
    static const char *const card[] = {"sm=80", "sm=100", "sm=120"};
    for (int i = 0; i < 6; i++) {
        const mu_attention_t shape = {2, 1024, 8, 128, 0.1, 0, NULL, NULL};
        mu_device_t *dev = make(card[i / 2]);
        plan(dev, MU_DTYPE_BF16, shape, i % 2 != 0);
        mu_device_close(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_of_every_shape_are_made),
        cmocka_unit_test(plans_for_other_cards_are_made),
    };
    if (mu_cuda_open(&cuda) != MU_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
