/* Descriptors of the stand-in for cuDNN: what may be set and read, and when. */
#include "../cuda/runtime.h"
#include "graph.h"

#include <mutex>
#include <stdlib.h>
#include <string.h>

struct cudnnContext {
    cudaStream_t stream;
};

namespace
{
struct attribute {
    int type;
    int64_t count;
    std::vector<char> bytes;
};

struct descriptor {
    int kind;
    bool final = false;
    std::map<int, attribute> set;
    std::shared_ptr<cudnn_graph> graph; /* of graphs, and of what is made of them */
    int engine = -1;                    /* of engines, configurations and plans */
    std::vector<int> proposed;          /* of heuristics */
};

enum { NOISY = 7, STEADY = 5, GREEDY = 2 }; /* engines */

const int64_t TERABYTE = (int64_t)1 << 40;

thread_local std::string last_error;

cudnnStatus_t fail(cudnnStatus_t status, const std::string &why)
{
    last_error = why;
    return status;
}

/* What each kind of descriptor may be given, and how many elements at most; `needed` to be finalized. */
struct rule {
    int kind, name, type;
    int64_t most;
    bool needed;
};
const rule RULES[] = {
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 8, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 8, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, true},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, false},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, false},
    {CUDNN_BACKEND_MATMUL_DESCRIPTOR, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, true},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, true},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, true},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, false},
    {CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1,
     true},
    {CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, true},
#define LINK(kind, name, needed)                                                                             \
    {                                                                                                        \
        kind, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, needed                                                 \
    }
    LINK(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_DESC, true),
    LINK(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_ADESC, true),
    LINK(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_BDESC, true),
    LINK(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_CDESC, true),
    LINK(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, true),
    LINK(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, true),
    LINK(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, false),
    LINK(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, false),
    LINK(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, true),
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_TYPE_FLOAT, 1,
     false},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, CUDNN_TYPE_FLOAT, 1,
     false},
    LINK(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_DESC, true),
    LINK(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, true),
    LINK(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, true),
    LINK(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, true),
    LINK(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, true),
    LINK(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, true),
    LINK(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, true),
#undef LINK
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, true},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, true},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
     64, true},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 64, true},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 64,
     true},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, true},
};

const rule *rule_for(int kind, int name)
{
    for (const rule &r : RULES)
        if (r.kind == kind && r.name == name)
            return &r;
    return nullptr;
}

size_t bytes_of(int type)
{
    switch (type) {
    case CUDNN_TYPE_BOOLEAN:
        return sizeof(bool);
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return 8;
    default:
        return 4;
    }
}

template <class V> std::vector<V> all_of(const descriptor &d, int name)
{
    auto found = d.set.find(name);
    if (found == d.set.end())
        return {};
    std::vector<V> out((size_t)found->second.count);
    memcpy(out.data(), found->second.bytes.data(), found->second.bytes.size());
    return out;
}

template <class V> V one_of(const descriptor &d, int name, V otherwise)
{
    auto found = d.set.find(name);
    if (found != d.set.end())
        memcpy(&otherwise, found->second.bytes.data(), sizeof(V));
    return otherwise;
}

descriptor *part_of(const descriptor &d, int name)
{
    return (descriptor *)one_of<void *>(d, name, nullptr);
}

const char *option(const char *word)
{
    return mu_stand_in_option("CUDNN_STAND_IN", word);
}

bool shall_fail(const char *function)
{
    const char *name = option("fail=");
    size_t length = strlen(function);
    return name && strncmp(name, function, length) == 0 && (name[length] == ' ' || !name[length]);
}

cudnn_tensor tensor_of(const descriptor &d)
{
    cudnn_tensor t = {};
    t.type = one_of<int>(d, CUDNN_ATTR_TENSOR_DATA_TYPE, -1);
    t.uid = one_of<int64_t>(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
    t.between = one_of<bool>(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, false);
    t.number = one_of<bool>(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, false);
    std::vector<int64_t> dim = all_of<int64_t>(d, CUDNN_ATTR_TENSOR_DIMENSIONS),
                         stride = all_of<int64_t>(d, CUDNN_ATTR_TENSOR_STRIDES);
    for (size_t i = 0; i < 4 && i < dim.size() && i < stride.size(); i++) {
        t.dim[i] = dim[i];
        t.stride[i] = stride[i];
    }
    return t;
}

std::string finish_tensor(const descriptor &d)
{
    if (all_of<int64_t>(d, CUDNN_ATTR_TENSOR_DIMENSIONS).size() != 4 ||
        all_of<int64_t>(d, CUDNN_ATTR_TENSOR_STRIDES).size() != 4)
        return "tensor: four dimensions are wanted";
    if (one_of<int64_t>(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0) != 16)
        return "tensor: an alignment of 16 is wanted";
    return mu_cudnn_judge_tensor(tensor_of(d));
}

/* Adds the tensors to the graph, each uid once. */
std::string add_tensor(cudnn_graph &g, const descriptor *d, int64_t *uid)
{
    if (!d || d->kind != CUDNN_BACKEND_TENSOR_DESCRIPTOR || !d->final)
        return "operation: a tensor is not finalized";
    cudnn_tensor t = tensor_of(*d);
    auto found = g.tensor.find(t.uid);
    if (found != g.tensor.end() && (found->second.type != t.type || found->second.between != t.between ||
                                    memcmp(found->second.dim, t.dim, sizeof t.dim) != 0 ||
                                    memcmp(found->second.stride, t.stride, sizeof t.stride) != 0))
        return "graph: two tensors with uid " + std::to_string(t.uid);
    g.tensor[t.uid] = t;
    *uid = t.uid;
    return "";
}

std::string add_operation(cudnn_graph &g, const descriptor &d)
{
    static const std::map<int, std::vector<int>> inputs = {
        {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
         {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC}},
        {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
         {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
          CUDNN_ATTR_OPERATION_POINTWISE_TDESC}},
        {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, {CUDNN_ATTR_OPERATION_REDUCTION_XDESC}},
        {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, {CUDNN_ATTR_OPERATION_RESHAPE_XDESC}}};
    struct outputs {
        int kind, out, how;
        cudnn_kind what;
    };
    static const outputs ends[] = {
        {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_CDESC,
         CUDNN_ATTR_OPERATION_MATMUL_DESC, cudnn_kind::matmul},
        {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
         CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, cudnn_kind::pointwise},
        {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_YDESC,
         CUDNN_ATTR_OPERATION_REDUCTION_DESC, cudnn_kind::reduce},
        {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, -1,
         cudnn_kind::reshape}};
    cudnn_operation o = {};
    std::string why;
    for (const outputs &e : ends) {
        if (e.kind != d.kind)
            continue;
        const descriptor *how = e.how < 0 ? nullptr : part_of(d, e.how);
        if (e.how >= 0 && (!how || !how->final))
            return "operation: its descriptor is not finalized";
        o.kind = e.what;
        o.mode = !how ? 0
                      : one_of<int>(*how,
                                    e.what == cudnn_kind::reduce ? CUDNN_ATTR_REDUCTION_OPERATOR
                                                                 : CUDNN_ATTR_POINTWISE_MODE,
                                    0);
        o.axis = how ? one_of<int64_t>(*how, CUDNN_ATTR_POINTWISE_AXIS, -1) : -1;
        why = add_tensor(g, part_of(d, e.out), &o.out);
    }
    for (int name : inputs.at(d.kind)) {
        int64_t uid;
        if (why.empty() && d.set.count(name)) {
            why = add_tensor(g, part_of(d, name), &uid);
            o.in.push_back(uid);
        }
    }
    if (why.empty())
        why = mu_cudnn_judge_operation(o, g.tensor);
    g.operation.push_back(o);
    return why;
}

bool is_operation(int kind)
{
    return kind == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR ||
           kind == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR ||
           kind == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR ||
           kind == CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR;
}

std::string finish_graph(descriptor &d)
{
    d.graph = std::make_shared<cudnn_graph>();
    if (!one_of<void *>(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, nullptr))
        return "graph: no handle";
    for (void *p : all_of<void *>(d, CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
        const descriptor *o = (const descriptor *)p;
        if (!o || !is_operation(o->kind) || !o->final)
            return "graph: an operation is not finalized";
        std::string why = add_operation(*d.graph, *o);
        if (!why.empty())
            return why;
    }
    return mu_cudnn_judge_graph(*d.graph);
}

std::string finish_heuristics(descriptor &d)
{
    const descriptor *graph = part_of(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    if (!graph->final)
        return "heuristics: the graph is not finalized";
    d.graph = graph->graph;
    if (option("refuse"))
        return "no engine for the graph, as CUDNN_STAND_IN wants it";
    std::string why = mu_cudnn_judge_attention(*d.graph, (int)cudnnGetVersion(), mu_stand_in_capability());
    if (!why.empty())
        return why;
    if (one_of<int>(d, CUDNN_ATTR_ENGINEHEUR_MODE, 0) == CUDNN_HEUR_MODE_A)
        d.proposed = {NOISY, STEADY};
    else
        d.proposed = {GREEDY};
    return "";
}

/* What the engines keep a graph's scores in: 16 bits each, in tiles of 128. */
int64_t workspace_of(const descriptor &d)
{
    if (d.engine == GREEDY)
        return TERABYTE;
    if (const char *gibibytes = option("workspace="))
        return strtoll(gibibytes, NULL, 10) << 30;
    for (const cudnn_operation &o : d.graph->operation)
        if (o.kind == cudnn_kind::matmul) {
            const cudnn_tensor &c = d.graph->tensor.at(o.out);
            int64_t rows = (c.dim[2] + 127) / 128 * 128;
            return d.graph->backward ? 2 * c.dim[0] * c.dim[1] * rows * rows : 1024;
        }
    return 0;
}

std::string finish_plan(descriptor &d)
{
    const descriptor *config = part_of(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (config->engine < 0)
        return "plan: not one of the proposed configurations";
    d.engine = config->engine;
    d.graph = config->graph;
    return "";
}

std::string finish(descriptor &d)
{
    for (const rule &r : RULES)
        if (r.kind == d.kind && r.needed && !d.set.count(r.name))
            return "attribute " + std::to_string(r.name) + " is not set";
    cudnn_graph alone;
    switch (d.kind) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        return finish_tensor(d);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        return finish_graph(d);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
        return finish_heuristics(d);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        return finish_plan(d);
    default:
        return is_operation(d.kind) ? add_operation(alone, d) : "";
    }
}

template <class V>
cudnnStatus_t give(const std::vector<V> &from, int64_t wanted, int64_t *count, void *values)
{
    *count = (int64_t)from.size();
    for (int64_t i = 0; i < wanted && i < *count && values; i++)
        ((V *)values)[i] = from[(size_t)i];
    return CUDNN_STATUS_SUCCESS;
}

std::vector<int> notes_of(int engine)
{
    std::vector<int> notes = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
    if (engine == NOISY || option("nondeterministic"))
        notes.push_back(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
    return notes;
}

/* The pointers of a pack by uid: those of the graph, no more and no fewer. */
std::string match(const cudnn_graph &g, const descriptor &pack, std::map<int64_t, void *> *memory,
                  std::map<int64_t, double> *number)
{
    std::vector<int64_t> uids = all_of<int64_t>(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    std::vector<void *> pointers = all_of<void *>(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    size_t wanted = 0;
    if (uids.size() != pointers.size())
        return "pack: as many pointers as uids are wanted";
    for (const auto &t : g.tensor)
        wanted += !t.second.between;
    if (wanted != uids.size())
        return "pack: the graph has " + std::to_string(wanted) + " tensors";
    for (size_t i = 0; i < uids.size(); i++) {
        auto found = g.tensor.find(uids[i]);
        if (found == g.tensor.end() || found->second.between)
            return "pack: no tensor has uid " + std::to_string(uids[i]);
        if (found->second.number)
            (*number)[uids[i]] = (double)*(const float *)pointers[i];
        else
            (*memory)[uids[i]] = pointers[i];
    }
    return memory->size() + number->size() == wanted ? "" : "pack: a uid stands there twice";
}

void check_memory(const cudnn_graph &g, const std::map<int64_t, void *> &memory, const char *workspace,
                  int64_t bytes, int device)
{
    mu_stand_in_check_device_range("cudnnBackendExecute: workspace", workspace, (size_t)bytes, device);
    for (const auto &m : memory) {
        const cudnn_tensor &t = g.tensor.at(m.first);
        int64_t elements = 1;
        for (int i = 0; i < 4; i++)
            elements += (t.dim[i] - 1) * t.stride[i];
        mu_stand_in_check_device_range("cudnnBackendExecute", m.second,
                                       (size_t)elements * mu_cudnn_size_of(t.type), device);
        const char *at = (const char *)m.second;
        if (at < workspace + bytes && workspace < at + (size_t)elements * mu_cudnn_size_of(t.type))
            mu_stand_in_fail("cudnnBackendExecute: tensor %lld lies in the workspace", (long long)m.first);
        if ((uintptr_t)at % 16 != 0)
            mu_stand_in_fail("cudnnBackendExecute: tensor %lld at %p is not aligned to 16 bytes",
                             (long long)m.first, m.second);
    }
}
} // namespace

extern "C" {

size_t cudnnGetVersion(void)
{
    const char *version = option("version="), *odd = option("odd="), *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (odd && rank && atoi(rank) % 2 == 1)
        version = odd;
    return version ? strtoul(version, NULL, 10) : 91900;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
    case CUDNN_STATUS_SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
        return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    default:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    }
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    snprintf(message, size, "%s", last_error.c_str());
    last_error.clear();
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    if (shall_fail("cudnnCreate") || mu_stand_in_device_count() == 0)
        return fail(CUDNN_STATUS_NOT_INITIALIZED, "as CUDNN_STAND_IN wants it");
    *handle = new cudnnContext{nullptr};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t kind, cudnnBackendDescriptor_t *out)
{
    auto *d = new descriptor;
    d->kind = kind;
    *out = d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    delete (descriptor *)d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t opaque)
{
    descriptor *d = (descriptor *)opaque;
    std::string why = d->final ? "finalized twice" : finish(*d);
    if (!why.empty())
        return fail(d->kind == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR ? CUDNN_STATUS_NOT_SUPPORTED
                                                                   : CUDNN_STATUS_BAD_PARAM,
                    why);
    d->final = true;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t opaque, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    descriptor *d = (descriptor *)opaque;
    const rule *r = d ? rule_for(d->kind, name) : nullptr;
    if (!r || r->type != type || count < 1 || count > r->most || !values)
        return fail(CUDNN_STATUS_BAD_PARAM, "attribute " + std::to_string(name) + " cannot be set so");
    if (d->final)
        return fail(CUDNN_STATUS_BAD_PARAM,
                    "attribute " + std::to_string(name) + " of a finalized descriptor");
    const char *bytes = (const char *)values;
    d->set[name] = {type, count, std::vector<char>(bytes, bytes + (size_t)count * bytes_of(type))};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t opaque, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted, int64_t *count,
                                       void *values)
{
    descriptor *d = (descriptor *)opaque;
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR && d->final) {
        *count = (int64_t)d->proposed.size();
        for (int64_t i = 0; i < wanted && i < *count; i++) {
            descriptor *config = ((descriptor **)values)[i];
            config->engine = d->proposed[(size_t)i];
            config->graph = d->graph;
            config->final = true;
        }
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINECFG_ENGINE && type == CUDNN_TYPE_BACKEND_DESCRIPTOR && d->engine >= 0) {
        (*(descriptor **)values)->engine = d->engine;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && type == CUDNN_TYPE_NUMERICAL_NOTE && d->engine >= 0)
        return give(notes_of(d->engine), wanted, count, values);
    if (name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX && type == CUDNN_TYPE_INT64 && d->engine >= 0)
        return give(std::vector<int64_t>{d->engine}, wanted, count, values);
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64 && d->final)
        return give(std::vector<int64_t>{workspace_of(*d)}, wanted, count, values);
    return fail(CUDNN_STATUS_BAD_PARAM, "attribute " + std::to_string(name) + " cannot be read so");
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t opaque,
                                  cudnnBackendDescriptor_t opaque_pack)
{
    static int runs;
    const descriptor *plan = (const descriptor *)opaque, *pack = (const descriptor *)opaque_pack;
    std::map<int64_t, void *> memory;
    std::map<int64_t, double> number;
    if (shall_fail("cudnnBackendExecute"))
        return fail(CUDNN_STATUS_EXECUTION_FAILED, "as CUDNN_STAND_IN wants it");
    if (!handle || !plan->final || !pack->final || plan->kind != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
        return fail(CUDNN_STATUS_BAD_PARAM, "execute: not finalized");
    std::string why = match(*plan->graph, *pack, &memory, &number);
    if (!why.empty())
        return fail(CUDNN_STATUS_BAD_PARAM, why);
    int device = mu_stand_in_stream_device(handle->stream);
    check_memory(*plan->graph, memory,
                 (const char *)one_of<void *>(*pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr),
                 workspace_of(*plan), device);
    std::shared_ptr<cudnn_graph> graph = plan->graph;
    double noise = plan->engine == NOISY ? 0.1 * ++runs : 0;
    mu_stand_in_enqueue(handle->stream, [graph, memory, number, noise] {
        mu_stand_in_touch();
        mu_cudnn_compute(*graph, memory, number, noise);
        return true;
    });
    return CUDNN_STATUS_SUCCESS;
}

} /* extern "C" */
