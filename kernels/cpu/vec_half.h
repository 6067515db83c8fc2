/* Between float and the 16-bit types, with the bits of common/half.h; included by vec_body.h. */

typedef uint16_t vec_h __attribute__((vector_size(MU_VEC_WIDTH * 2), may_alias, aligned(2)));
typedef uint32_t vec_u __attribute__((vector_size(MU_VEC_WIDTH * 4), may_alias));

static inline vec_u vec_pick(vec_i mask, vec_u yes, vec_u no)
{
    return ((vec_u)mask & yes) | (~(vec_u)mask & no);
}

static inline vec_f vec_of_bfloat16(vec_h x)
{
    return (vec_f)(__builtin_convertvector(x, vec_u) << 16);
}

static inline vec_h vec_to_bfloat16(vec_f x)
{
    vec_u bits = (vec_u)x;
    vec_u rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    /* NOLINTNEXTLINE(misc-redundant-expression): NaN differs from itself */
    return __builtin_convertvector(vec_pick(x != x, bits >> 16 | 0x40, rounded), vec_h);
}

/* The product is exact: it moves the exponent's bias, and makes subnormals normal. */
static inline vec_f vec_of_half(vec_h x)
{
    vec_u bits = __builtin_convertvector(x, vec_u), size = bits & 0x7fff;
    vec_u finite = (vec_u)((vec_f)(size << 13) * 0x1p112F), special = size << 13 | 0x7f800000;
    return (vec_f)(vec_pick((vec_i)(size > 0x7bff), special, finite) | (bits & 0x8000) << 16);
}

static inline vec_h vec_to_half(vec_f x)
{
    vec_u bits = (vec_u)x, size = bits & 0x7fffffff;
    vec_u normal = ((size + 0xfff + (size >> 13 & 1)) >> 13) - (112U << 10);
    vec_u small = (vec_u)((vec_f)size + 0.5F) - 0x3f000000;
    vec_u out = vec_pick((vec_i)(size < 0x38800000), small, normal);
    out = vec_pick((vec_i)(size >= 0x47800000), (vec_u){0} + 0x7c00, out);
    /* NOLINTNEXTLINE(misc-redundant-expression) */
    out = vec_pick(x != x, (vec_u){0} + 0x7e00, out);
    return __builtin_convertvector(out | (bits >> 16 & 0x8000), vec_h);
}

static void vec_widen(float *restrict to, const uint16_t *restrict from, int64_t n, mu_dtype_t type)
{
    int64_t i = 0;
    if (type == MU_DTYPE_BF16) {
        for (; i + MU_VEC_WIDTH <= n; i += MU_VEC_WIDTH)
            vec_store(to + i, vec_of_bfloat16(*(const vec_h *)(from + i)));
        for (; i < n; i++)
            to[i] = mu_float_of_bfloat16(from[i]);
    } else {
        for (; i + MU_VEC_WIDTH <= n; i += MU_VEC_WIDTH)
            vec_store(to + i, vec_of_half(*(const vec_h *)(from + i)));
        for (; i < n; i++)
            to[i] = mu_float_of_half(from[i]);
    }
}

static void vec_narrow(uint16_t *restrict to, const float *restrict from, int64_t n, mu_dtype_t type)
{
    int64_t i = 0;
    if (type == MU_DTYPE_BF16) {
        for (; i + MU_VEC_WIDTH <= n; i += MU_VEC_WIDTH)
            *(vec_h *)(to + i) = vec_to_bfloat16(vec_load(from + i));
        for (; i < n; i++)
            to[i] = mu_bfloat16_of_float(from[i]);
    } else {
        for (; i + MU_VEC_WIDTH <= n; i += MU_VEC_WIDTH)
            *(vec_h *)(to + i) = vec_to_half(vec_load(from + i));
        for (; i < n; i++)
            to[i] = mu_half_of_float(from[i]);
    }
}
