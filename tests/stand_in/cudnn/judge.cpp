/* What cuDNN's attention engines want of a graph. */
#include "graph.h"

#include <string.h>

namespace
{
bool is_narrow(int type)
{
    return type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16;
}

int inputs_of(int mode)
{
    switch (mode) {
    case CUDNN_POINTWISE_EXP:
    case CUDNN_POINTWISE_LOG:
    case CUDNN_POINTWISE_GEN_INDEX:
        return 1;
    case CUDNN_POINTWISE_BINARY_SELECT:
        return 3;
    default:
        return 2;
    }
}

int type_out(int mode)
{
    return mode == CUDNN_POINTWISE_GEN_INDEX ? CUDNN_DATA_INT32
           : mode == CUDNN_POINTWISE_CMP_GE  ? CUDNN_DATA_BOOLEAN
                                             : -1;
}

bool spreads(const cudnn_tensor &from, const cudnn_tensor &to)
{
    for (int i = 0; i < 4; i++)
        if (from.dim[i] != to.dim[i] && from.dim[i] != 1)
            return false;
    return true;
}

std::string judge_matmul(const cudnn_tensor &a, const cudnn_tensor &b, const cudnn_tensor &c)
{
    if (a.dim[0] != c.dim[0] || b.dim[0] != c.dim[0] || a.dim[1] != c.dim[1] || a.dim[1] % b.dim[1] != 0)
        return "matmul: batches or heads do not fit";
    if (a.dim[3] != b.dim[2] || a.dim[2] != c.dim[2] || b.dim[3] != c.dim[3])
        return "matmul: rows or columns do not fit";
    if (!is_narrow(b.type) || (!is_narrow(a.type) && !a.between))
        return "matmul: operands are bf16 or fp16";
    return "";
}

std::string judge_pointwise(const cudnn_operation &o, const std::map<int64_t, cudnn_tensor> &tensor)
{
    const cudnn_tensor &y = tensor.at(o.out);
    if ((int)o.in.size() != inputs_of(o.mode))
        return "pointwise: another number of inputs is wanted";
    for (int64_t uid : o.in)
        if (!spreads(tensor.at(uid), y))
            return "pointwise: an input does not spread to the output";
    if (type_out(o.mode) >= 0 && y.type != type_out(o.mode))
        return "pointwise: the output has another type";
    if (o.mode == CUDNN_POINTWISE_BINARY_SELECT && tensor.at(o.in[2]).type != CUDNN_DATA_BOOLEAN)
        return "pointwise: the third input of a selection is boolean";
    if (o.mode == CUDNN_POINTWISE_GEN_INDEX && (o.axis < 0 || o.axis > 3))
        return "pointwise: an index needs an axis";
    return "";
}

std::string judge_reduce(const cudnn_tensor &x, const cudnn_tensor &y)
{
    for (int i = 0; i < 4; i++)
        if (y.dim[i] != x.dim[i] && y.dim[i] != 1 && !(i == 1 && x.dim[i] % y.dim[i] == 0))
            return "reduction: the output's dimensions are 1 or the input's";
    return "";
}

std::string judge_reshape(const cudnn_tensor &x, const cudnn_tensor &y)
{
    static const int other[4] = {0, 1, 3, 2};
    for (int i = 0; i < 4; i++)
        if (y.dim[i] != x.dim[other[i]] || y.stride[i] != x.stride[other[i]])
            return "reshape: only the last two dimensions may change places";
    return "";
}

std::string name_of(const cudnn_operation &o)
{
    if (o.kind != cudnn_kind::pointwise)
        return o.kind == cudnn_kind::matmul   ? "matmul"
               : o.kind == cudnn_kind::reduce ? (o.mode == CUDNN_REDUCE_TENSOR_MAX ? "largest" : "sum")
                                              : "reshape";
    switch (o.mode) {
    case CUDNN_POINTWISE_ADD:
        return "add";
    case CUDNN_POINTWISE_MUL:
        return "mul";
    case CUDNN_POINTWISE_DIV:
        return "div";
    case CUDNN_POINTWISE_SUB:
        return "sub";
    case CUDNN_POINTWISE_EXP:
        return "exp";
    case CUDNN_POINTWISE_LOG:
        return "log";
    case CUDNN_POINTWISE_CMP_GE:
        return "ge";
    case CUDNN_POINTWISE_GEN_INDEX:
        return "index" + std::to_string(o.axis);
    default:
        return "select";
    }
}
} // namespace

std::string mu_cudnn_judge_tensor(const cudnn_tensor &t)
{
    if (t.type != CUDNN_DATA_FLOAT && t.type != CUDNN_DATA_HALF && t.type != CUDNN_DATA_BFLOAT16 &&
        t.type != CUDNN_DATA_INT32 && t.type != CUDNN_DATA_BOOLEAN)
        return "tensor: type " + std::to_string(t.type);
    if (t.between && t.number)
        return "tensor: virtual and by value";
    for (int i = 0; i < 4; i++)
        if (t.dim[i] < 1 || t.stride[i] < 1)
            return "tensor: dimensions and strides are positive";
    if (t.number && t.elements() != 1)
        return "tensor: a number is one element";
    if (t.between || t.number || !is_narrow(t.type))
        return "";
    for (int i = 0; i < 4; i++)
        if (t.dim[i] > 1 && t.stride[i] != 1 && t.stride[i] % 8 != 0)
            return "tensor: lines do not begin at multiples of 16 bytes";
    return t.stride[2] == 1 || t.stride[3] == 1 ? "" : "tensor: the elements of a line are apart";
}

std::string mu_cudnn_judge_operation(const cudnn_operation &o, const std::map<int64_t, cudnn_tensor> &tensor)
{
    const cudnn_tensor &x = tensor.at(o.in[0]), &y = tensor.at(o.out);
    switch (o.kind) {
    case cudnn_kind::matmul:
        return judge_matmul(x, tensor.at(o.in[1]), y);
    case cudnn_kind::pointwise:
        return judge_pointwise(o, tensor);
    case cudnn_kind::reduce:
        return judge_reduce(x, y);
    default:
        return judge_reshape(x, y);
    }
}

std::string mu_cudnn_judge_graph(const cudnn_graph &g)
{
    std::map<int64_t, int> made;
    for (const cudnn_operation &o : g.operation) {
        for (int64_t uid : o.in)
            if (g.tensor.at(uid).between && !made[uid])
                return "graph: virtual tensor " + std::to_string(uid) + " is read before it is made";
        if (g.tensor.at(o.out).number)
            return "graph: a number is written";
        if (made[o.out]++)
            return "graph: tensor " + std::to_string(o.out) + " is made twice";
    }
    return "";
}

std::string mu_cudnn_judge_attention(cudnn_graph &g, int version, int capability)
{
    static const char forward[] =
        "matmul mul index2 index3 ge select largest sub exp sum log add div matmul ";
    static const char backward[] = "mul sum mul matmul mul sub index2 index3 ge select exp reshape matmul "
                                   "matmul sub mul mul reshape matmul reshape matmul ";
    static const char backward_shared[] =
        "mul sum mul matmul mul sub index2 index3 ge select exp reshape matmul sum "
        "matmul sub mul mul reshape matmul sum reshape matmul ";
    std::string form;
    for (const cudnn_operation &o : g.operation)
        form += name_of(o) + " ";
    g.backward = form == backward || form == backward_shared;
    if (form != forward && !g.backward)
        return "no engine for the graph " + form;
    int64_t seq = 0, dim = 0;
    for (const cudnn_operation &o : g.operation)
        if (o.kind == cudnn_kind::matmul && !g.tensor.at(o.in[0]).between && dim == 0) {
            seq = g.tensor.at(o.in[0]).dim[2];
            dim = g.tensor.at(o.in[0]).dim[3];
        }
    if (capability < 80)
        return "no engine for compute capability " + std::to_string(capability);
    if (dim % 8 != 0 || dim > (capability == 90 ? 256 : 128))
        return "no engine for heads of " + std::to_string(dim);
    if (g.backward && version <= 91500 && seq % 128 != 0)
        return "wrong results for sequences of " + std::to_string(seq);
    return "";
}
