/* Operation by operation, in double. What is kept in a narrower type than float is rounded to it. */
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "graph.h"

#include <math.h>

size_t mu_cudnn_size_of(int type)
{
    return type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16 ? 2 : type == CUDNN_DATA_BOOLEAN ? 1 : 4;
}

namespace
{
typedef std::vector<double> values;

double rounded(double x, int type)
{
    if (type == CUDNN_DATA_BFLOAT16)
        return (double)(float)__nv_bfloat16((float)x);
    if (type == CUDNN_DATA_HALF)
        return (double)(float)__half((float)x);
    return x;
}

int64_t place(const cudnn_tensor &t, int64_t i)
{
    int64_t n = i % t.dim[3], m = i / t.dim[3] % t.dim[2], h = i / (t.dim[3] * t.dim[2]) % t.dim[1];
    int64_t b = i / (t.dim[3] * t.dim[2] * t.dim[1]);
    return b * t.stride[0] + h * t.stride[1] + m * t.stride[2] + n * t.stride[3];
}

double load(const void *p, int64_t i, int type)
{
    if (type == CUDNN_DATA_BFLOAT16)
        return (double)(float)((const __nv_bfloat16 *)p)[i];
    if (type == CUDNN_DATA_HALF)
        return (double)(float)((const __half *)p)[i];
    return (double)((const float *)p)[i];
}

void store(void *p, int64_t i, int type, double x)
{
    if (type == CUDNN_DATA_BFLOAT16)
        ((__nv_bfloat16 *)p)[i] = (float)x;
    else if (type == CUDNN_DATA_HALF)
        ((__half *)p)[i] = (float)x;
    else
        ((float *)p)[i] = (float)x;
}

/* Where element i of `to` finds its own in a tensor that spreads to it; grouped heads: several to one. */
int64_t spread_from(const cudnn_tensor &from, const cudnn_tensor &to, int64_t i)
{
    int64_t at[4] = {i / (to.dim[3] * to.dim[2] * to.dim[1]), i / (to.dim[3] * to.dim[2]) % to.dim[1],
                     i / to.dim[3] % to.dim[2], i % to.dim[3]};
    int64_t out = 0;
    for (int d = 0; d < 4; d++)
        out = out * from.dim[d] + (from.dim[d] == to.dim[d] ? at[d] : at[d] / (to.dim[d] / from.dim[d]));
    return out;
}

void matmul(const cudnn_tensor &ta, const values &a, const cudnn_tensor &tb, const values &b,
            const cudnn_tensor &tc, values &c)
{
    int64_t m = tc.dim[2], n = tc.dim[3], k = ta.dim[3], share = ta.dim[1] / tb.dim[1];
    for (int64_t head = 0; head < tc.dim[0] * tc.dim[1]; head++) {
        const double *x = a.data() + head * m * k;
        const double *y = b.data() + (head / tc.dim[1] * tb.dim[1] + head % tc.dim[1] / share) * k * n;
        double *z = c.data() + head * m * n;
        for (int64_t i = 0; i < m; i++)
            for (int64_t l = 0; l < k; l++)
                for (int64_t j = 0; j < n; j++)
                    z[i * n + j] += x[i * k + l] * y[l * n + j];
    }
}

double apply(int mode, double x, double b, double t)
{
    switch (mode) {
    case CUDNN_POINTWISE_ADD:
        return x + b;
    case CUDNN_POINTWISE_MUL:
        return x * b;
    case CUDNN_POINTWISE_DIV:
        return x / b;
    case CUDNN_POINTWISE_SUB:
        return x - b;
    case CUDNN_POINTWISE_EXP:
        return exp(x);
    case CUDNN_POINTWISE_LOG:
        return log(x);
    case CUDNN_POINTWISE_CMP_GE:
        return x >= b;
    default:
        return t != 0 ? x : b;
    }
}

int64_t index_of(const cudnn_tensor &t, int64_t i, int64_t axis)
{
    for (int64_t d = 3; d > axis; d--)
        i /= t.dim[d];
    return i % t.dim[axis];
}

struct machine {
    const cudnn_graph &g;
    const std::map<int64_t, void *> &memory;
    const std::map<int64_t, double> &number;
    double noise;
    std::map<int64_t, values> known;

    const values &read(int64_t uid)
    {
        auto found = known.find(uid);
        if (found != known.end())
            return found->second;
        const cudnn_tensor &t = g.tensor.at(uid);
        values v((size_t)t.elements());
        for (int64_t i = 0; i < t.elements(); i++)
            v[(size_t)i] = t.number ? number.at(uid) : load(memory.at(uid), place(t, i), t.type);
        return known[uid] = v;
    }

    void write(int64_t uid, values v)
    {
        const cudnn_tensor &t = g.tensor.at(uid);
        for (double &x : v)
            x = rounded(x, t.type);
        if (!t.between)
            for (int64_t i = 0; i < t.elements(); i++)
                store(memory.at(uid), place(t, i), t.type, v[(size_t)i] + noise);
        known[uid] = v;
    }

    void pointwise(const cudnn_operation &o, const cudnn_tensor &y, values &out)
    {
        const values *in[3] = {};
        const cudnn_tensor *from[3] = {};
        for (size_t i = 0; i < o.in.size(); i++) {
            in[i] = &read(o.in[i]);
            from[i] = &g.tensor.at(o.in[i]);
        }
        for (int64_t i = 0; i < y.elements(); i++) {
            double v[3] = {};
            for (size_t p = 0; p < o.in.size(); p++)
                v[p] = (*in[p])[(size_t)spread_from(*from[p], y, i)];
            out[(size_t)i] = o.mode == CUDNN_POINTWISE_GEN_INDEX ? (double)index_of(y, i, o.axis)
                                                                 : apply(o.mode, v[0], v[1], v[2]);
        }
    }

    void reduce(const cudnn_operation &o, const cudnn_tensor &y, values &out)
    {
        const cudnn_tensor &x = g.tensor.at(o.in[0]);
        const values &in = read(o.in[0]);
        if (o.mode == CUDNN_REDUCE_TENSOR_MAX)
            out.assign(out.size(), -INFINITY);
        for (int64_t i = 0; i < x.elements(); i++) {
            double &to = out[(size_t)spread_from(y, x, i)];
            to = o.mode == CUDNN_REDUCE_TENSOR_MAX ? fmax(to, in[(size_t)i]) : to + in[(size_t)i];
        }
    }

    void run(const cudnn_operation &o)
    {
        const cudnn_tensor &y = g.tensor.at(o.out), &x = g.tensor.at(o.in[0]);
        values out((size_t)y.elements());
        if (o.kind == cudnn_kind::matmul)
            matmul(x, read(o.in[0]), g.tensor.at(o.in[1]), read(o.in[1]), y, out);
        else if (o.kind == cudnn_kind::pointwise)
            pointwise(o, y, out);
        else if (o.kind == cudnn_kind::reduce)
            reduce(o, y, out);
        else
            for (int64_t i = 0; i < y.elements(); i++) /* the last two dimensions change places */
                out[(size_t)i] = read(o.in[0])[(size_t)(i / (y.dim[2] * y.dim[3]) * y.dim[2] * y.dim[3] +
                                                        i % y.dim[3] * y.dim[2] + i / y.dim[3] % y.dim[2])];
        write(o.out, out);
    }
};
} // namespace

void mu_cudnn_compute(const cudnn_graph &g, const std::map<int64_t, void *> &memory,
                      const std::map<int64_t, double> &number, double noise)
{
    machine m = {g, memory, number, noise, {}};
    for (const cudnn_operation &o : g.operation)
        m.run(o);
}
