/* The products that operations make, and the operations that products belong to. */
#include "kernels/cuda/product.h"

/* d = op(a) op(b), without an epilogue. */
static mu_cuda_product_t bare(mu_product_op_t op, mu_array_t d, mu_array_t a, bool trans_a, mu_array_t b,
                              bool trans_b, int64_t m, int64_t n, int64_t k)
{
    mu_cuda_product_t p = {};
    p.op = op;
    p.d = d;
    p.a = a;
    p.trans_a = trans_a;
    p.b = b;
    p.trans_b = trans_b;
    p.m = m;
    p.n = n;
    p.k = k;
    p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return p;
}

mu_cuda_product_t mu_cuda_forward_product(mu_product_op_t op, mu_array_t y, mu_array_t x, mu_array_t w,
                                          mu_array_t bias, int64_t rows, int64_t in, int64_t out)
{
    mu_cuda_product_t p = bare(op, y, w, true, x, false, out, rows, in);
    p.bias = bias;
    if (bias.data)
        p.epilogue = CUBLASLT_EPILOGUE_BIAS;
    return p;
}

mu_cuda_product_t mu_cuda_input_product(mu_product_op_t op, mu_array_t dx, mu_array_t dy, mu_array_t w,
                                        int64_t rows, int64_t in, int64_t out)
{
    return bare(op, dx, w, false, dy, false, in, rows, out);
}

mu_cuda_product_t mu_cuda_weight_product(mu_array_t dw, mu_array_t dy, mu_array_t x, int64_t rows, int64_t in,
                                         int64_t out)
{
    return bare(MU_PRODUCT_BACKWARD_WEIGHT, dw, x, false, dy, true, in, out, rows);
}

/* The tanh form, made fast at the cost of digits that only narrow types do not miss. Its input's rows must be a
 * multiple of 8 wide (cuBLAS, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD). */
bool mu_cuda_fusible(mu_dtype_t type, int64_t width, mu_activation_t act)
{
    return type != MU_DTYPE_F32 && act == MU_GELU_TANH && width % 8 == 0;
}

bool mu_cuda_optional_epilogue(const mu_cuda_product_t *p)
{
    return p->epilogue != CUBLASLT_EPILOGUE_DEFAULT &&
           !(p->op == MU_PRODUCT_GELU_FORWARD && p->epilogue == CUBLASLT_EPILOGUE_BIAS);
}

mu_product_t mu_cuda_operation_of(const mu_cuda_product_t *p)
{
    mu_product_t asked = {};
    bool weight = p->op == MU_PRODUCT_BACKWARD_WEIGHT,
         forward = p->op == MU_PRODUCT_FORWARD || p->op == MU_PRODUCT_GELU_FORWARD;
    asked.op = p->op;
    asked.type = p->a.type;
    asked.rows = weight ? p->k : p->n;
    asked.in = forward ? p->k : p->m;
    asked.out = weight ? p->n : forward ? p->m : p->k;
    return asked;
}

bool mu_cuda_sample_product(const mu_product_t *o, bool fused, mu_cuda_product_t *out)
{
    void *some = (void *)(uintptr_t)256; /* nobody looks at what is there */
    mu_array_t x = {some, o->type}, none = MU_NO_ARRAY, floats = {some, MU_DTYPE_F32};
    switch (o->op) {
    case MU_PRODUCT_FORWARD:
        *out = mu_cuda_forward_product(o->op, x, x, x, fused ? x : none, o->rows, o->in, o->out);
        return true;
    case MU_PRODUCT_GELU_FORWARD:
        *out = mu_cuda_forward_product(o->op, x, x, x, x, o->rows, o->in, o->out);
        if (fused) {
            out->epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
            out->aux = some;
        }
        return !fused || mu_cuda_fusible(o->type, o->out, MU_GELU_TANH);
    case MU_PRODUCT_BACKWARD_WEIGHT:
        *out = mu_cuda_weight_product(floats, x, x, o->rows, o->in, o->out);
        if (fused) {
            out->epilogue = CUBLASLT_EPILOGUE_BGRADB;
            out->bias = floats;
        }
        return !fused || o->type != MU_DTYPE_F32;
    default:
        *out = mu_cuda_input_product(o->op, x, x, x, o->rows, o->in, o->out);
        if (!fused)
            return true;
        out->epilogue = CUBLASLT_EPILOGUE_DGELU;
        out->aux = some;
        return o->op == MU_PRODUCT_GELU_BACKWARD_INPUT && mu_cuda_fusible(o->type, o->in, MU_GELU_TANH);
    }
}
