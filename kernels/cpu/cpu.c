/* The CPU device: memory, threads, and the table. */
#include "kernels/cpu/cpu.h"
#include "common/buf.h"
#include "common/launch_env.h"
#include "common/num.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/stream.h"

#include <sys/mman.h>

enum { SMALL_ALIGN = 64, HUGE_PAGE = 2 << 20 };

static bool cpu_supports(const mu_device_t *dev, mu_dtype_t type)
{
    return type == MU_DTYPE_F32 || type == MU_DTYPE_BF16 || ((const mu_cpu_t *)dev->impl)->fp16;
}

/* Large arrays ask for huge pages: products walk them with strides that miss small ones' translations. */
static void *cpu_alloc(mu_device_t *dev, int64_t bytes)
{
    (void)dev;
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : SMALL_ALIGN;
    size_t size = ((size_t)bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, size);
    if (!p)
        return NULL;
    if (align == HUGE_PAGE)
        (void)madvise(p, size, MADV_HUGEPAGE);
    memset(p, 0, size);
    return p;
}

static void cpu_free(mu_device_t *dev, void *p)
{
    (void)dev;
    free(p);
}

static void cpu_put(mu_device_t *dev, void *to, const void *host, int64_t bytes)
{
    (void)dev;
    memcpy(to, host, (size_t)bytes);
}

static mu_status_t cpu_get(mu_device_t *dev, void *host, const void *from, int64_t bytes)
{
    mu_cpu_stream(mu_cpu(dev)->pool, host, from, bytes);
    return dev->status;
}

/* The pool's threads belong to the operations. */
static mu_status_t cpu_get_beside(mu_device_t *dev, void *host, const void *from, int64_t bytes)
{
    (void)dev;
    mu_cpu_stream(NULL, host, from, bytes);
    return MU_OK;
}

static bool cpu_pin(mu_device_t *dev, void *host, int64_t bytes)
{
    (void)dev;
    (void)host;
    (void)bytes;
    return true; /* nothing could be faster */
}

static void cpu_unpin(mu_device_t *dev, void *host)
{
    (void)dev;
    (void)host;
}

static void cpu_zero(mu_device_t *dev, void *p, int64_t bytes)
{
    (void)dev;
    memset(p, 0, (size_t)bytes);
}

static mu_status_t cpu_sync(mu_device_t *dev)
{
    return dev->status;
}

static void cpu_close(mu_device_t *dev)
{
    mu_cpu_t *cpu = mu_cpu(dev);
    mu_device_free(dev, cpu->scratch);
    mu_pool_free(cpu->pool);
    free(cpu);
}

static const mu_device_ops_t cpu_ops = {
    .name = "cpu",
    .supports = cpu_supports,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .put = cpu_put,
    .get = cpu_get,
    .get_beside = cpu_get_beside,
    .pin = cpu_pin,
    .unpin = cpu_unpin,
    .copy = cpu_put,
    .zero = cpu_zero,
    .sync = cpu_sync,
    .linear_forward = mu_cpu_linear_forward,
    .linear_gelu_forward = mu_cpu_linear_gelu_forward,
    .linear_backward_input = mu_cpu_linear_backward_input,
    .linear_gelu_backward_input = mu_cpu_linear_gelu_backward_input,
    .linear_backward_weight = mu_cpu_linear_backward_weight,
    .embedding_forward = mu_cpu_embedding_forward,
    .embedding_backward = mu_cpu_embedding_backward,
    .position_forward = mu_cpu_position_forward,
    .position_backward = mu_cpu_position_backward,
    .layernorm_forward = mu_cpu_layernorm_forward,
    .layernorm_backward = mu_cpu_layernorm_backward,
    .layernorm_pair_forward = mu_cpu_layernorm_pair_forward,
    .layernorm_pair_backward = mu_cpu_layernorm_pair_backward,
    .rmsnorm_forward = mu_cpu_rmsnorm_forward,
    .rmsnorm_backward = mu_cpu_rmsnorm_backward,
    .qk_norm_forward = mu_cpu_qk_norm_forward,
    .qk_norm_backward = mu_cpu_qk_norm_backward,
    .gelu_forward = mu_cpu_gelu_forward,
    .gelu_backward = mu_cpu_gelu_backward,
    .swiglu_forward = mu_cpu_swiglu_forward,
    .swiglu_backward = mu_cpu_swiglu_backward,
    .residual = mu_cpu_residual,
    .dropout = mu_cpu_dropout,
    .qkv_add = mu_cpu_qkv_add,
    .qkv_take = mu_cpu_qkv_take,
    .add = mu_cpu_add,
    .scale = mu_cpu_scale,
    .rotary = mu_cpu_rotary,
    .attention_forward = mu_cpu_attention_forward,
    .attention_backward = mu_cpu_attention_backward,
    .attention_cached = mu_cpu_attention_cached,
    .linear_rows = mu_cpu_linear_rows,
    .attention_pieces = mu_cpu_attention_pieces,
    .cross_entropy_max = mu_cpu_cross_entropy_max,
    .cross_entropy_exp = mu_cpu_cross_entropy_exp,
    .cross_entropy_loss = mu_cpu_cross_entropy_loss,
    .cross_entropy_backward = mu_cpu_cross_entropy_backward,
    .adamw = mu_cpu_adamw,
    .sum_squares = mu_cpu_sum_squares,
    .tune_product = mu_cpu_tune_product,
    .take_way = mu_cpu_take_way,
    .way_of = mu_cpu_way_of,
};

mu_status_t mu_device_cpu_new(int threads, mu_device_t **out)
{
    mu_cpu_t *cpu = mu_calloc(1, sizeof *cpu);
    mu_status_t status = mu_pool_new(threads, mu_gemm_thread_start, &cpu->pool);
    if (status != MU_OK) {
        free(cpu);
        return status;
    }
    cpu->vec = mu_vec_choose(getenv(MU_ENV_CPU_ISA));
    cpu->tiles = mu_tiles_choose(getenv(MU_ENV_CPU_ISA));
    cpu->fp16 = getenv(MU_ENV_CPU_FP16) != NULL;
    cpu->native_bfloat16 = strcmp(cpu->vec->name, "avx512") == 0 && mu_gemm_has_bfloat16();
    mu_device_t *dev = mu_calloc(1, sizeof *dev);
    dev->ops = &cpu_ops;
    dev->threads = threads;
    dev->logits = MU_LOGITS_CPU;
    dev->impl = cpu;
    char gemm[32];
    mu_gemm_version(gemm, sizeof gemm);
    snprintf(dev->instruction_set, sizeof dev->instruction_set, "%.16s%s%s", cpu->vec->name,
             cpu->native_bfloat16 ? " with bf16" : "", cpu->tiles ? ", amx" : "");
    snprintf(dev->description, sizeof dev->description, "cpu, %d thread%s, %s, %s", threads,
             threads == 1 ? "" : "s", dev->instruction_set, gemm);
    *out = dev;
    return MU_OK;
}
