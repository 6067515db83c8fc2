/*
 * cuDNN 9, opened at run time, so that one library runs with and without it: the file that MUSTER_CUDNN_LIBRARY names,
 * else libcudnn.so.9, which opens its own parts. Declared here is what muster uses of the backend API (NVIDIA cuDNN
 * documentation, "Backend API"); the numbers are those of cuDNN's ABI, which tests/stand_in/values/cudnn.cpp compares
 * with cuDNN's own header where a machine has one.
 *
 *     mu_cudnn_t lib;
 *     if (mu_cudnn_open(&lib) == MU_OK)
 *         lib.create(&handle);
 */
#ifndef MU_KERNELS_CUDA_CUDNN_API_H
#define MU_KERNELS_CUDA_CUDNN_API_H

#include "kernels/cuda/cu.h"

enum {
    MU_CUDNN_OLDEST = 90200,
    MU_CUDNN_NEXT_MAJOR = 100000
}; /* versions as cudnnGetVersion() has them: 91900 */
enum { MU_CUDNN_SUCCESS = 0 };

typedef void *mu_cudnn_descriptor_t;
typedef struct mu_cudnn_context *mu_cudnn_handle_t;

/* cudnnBackendDescriptorType_t */
enum {
    MU_CUDNN_POINTWISE = 0,
    MU_CUDNN_ENGINE = 2,
    MU_CUDNN_ENGINE_CONFIG = 3,
    MU_CUDNN_HEURISTICS = 4,
    MU_CUDNN_PLAN = 5,
    MU_CUDNN_OPERATION_POINTWISE = 13,
    MU_CUDNN_OPERATION_GRAPH = 15,
    MU_CUDNN_VARIANT_PACK = 16,
    MU_CUDNN_TENSOR = 17,
    MU_CUDNN_MATMUL = 18,
    MU_CUDNN_OPERATION_MATMUL = 19,
    MU_CUDNN_REDUCTION = 21,
    MU_CUDNN_OPERATION_REDUCTION = 22,
    MU_CUDNN_OPERATION_RESHAPE = 31,
};

/* cudnnBackendAttributeName_t */
enum {
    MU_CUDNN_POINTWISE_MODE = 0,
    MU_CUDNN_POINTWISE_COMPUTE = 1,
    MU_CUDNN_POINTWISE_AXIS = 9,
    MU_CUDNN_HEURISTICS_MODE = 200,
    MU_CUDNN_HEURISTICS_GRAPH = 201,
    MU_CUDNN_HEURISTICS_RESULTS = 202,
    MU_CUDNN_ENGINE_CONFIG_ENGINE = 300,
    MU_CUDNN_PLAN_ENGINE_CONFIG = 401,
    MU_CUDNN_PLAN_WORKSPACE = 402,
    MU_CUDNN_OPERATION_POINTWISE_DESC = 750,
    MU_CUDNN_OPERATION_POINTWISE_X = 751,
    MU_CUDNN_OPERATION_POINTWISE_B = 752,
    MU_CUDNN_OPERATION_POINTWISE_Y = 753,
    MU_CUDNN_OPERATION_POINTWISE_ALPHA1 = 754,
    MU_CUDNN_OPERATION_POINTWISE_ALPHA2 = 755,
    MU_CUDNN_OPERATION_POINTWISE_T = 758,
    MU_CUDNN_GRAPH_HANDLE = 800,
    MU_CUDNN_GRAPH_OPERATIONS = 801,
    MU_CUDNN_TENSOR_ALIGNMENT = 900,
    MU_CUDNN_TENSOR_TYPE = 901,
    MU_CUDNN_TENSOR_DIMENSIONS = 902,
    MU_CUDNN_TENSOR_STRIDES = 903,
    MU_CUDNN_TENSOR_UID = 906,
    MU_CUDNN_TENSOR_VIRTUAL = 907,
    MU_CUDNN_TENSOR_BY_VALUE = 908,
    MU_CUDNN_PACK_UIDS = 1000,
    MU_CUDNN_PACK_POINTERS = 1001,
    MU_CUDNN_PACK_WORKSPACE = 1003,
    MU_CUDNN_ENGINE_INDEX = 1301,
    MU_CUDNN_ENGINE_NOTES = 1303,
    MU_CUDNN_MATMUL_COMPUTE = 1500,
    MU_CUDNN_OPERATION_MATMUL_A = 1520,
    MU_CUDNN_OPERATION_MATMUL_B = 1521,
    MU_CUDNN_OPERATION_MATMUL_C = 1522,
    MU_CUDNN_OPERATION_MATMUL_DESC = 1523,
    MU_CUDNN_REDUCTION_OPERATOR = 1600,
    MU_CUDNN_REDUCTION_COMPUTE = 1601,
    MU_CUDNN_OPERATION_REDUCTION_X = 1610,
    MU_CUDNN_OPERATION_REDUCTION_Y = 1611,
    MU_CUDNN_OPERATION_REDUCTION_DESC = 1612,
    MU_CUDNN_OPERATION_RESHAPE_X = 2200,
    MU_CUDNN_OPERATION_RESHAPE_Y = 2201,
};

/* cudnnBackendAttributeType_t */
enum {
    MU_CUDNN_TYPE_HANDLE = 0,
    MU_CUDNN_TYPE_DATA_TYPE = 1,
    MU_CUDNN_TYPE_BOOLEAN = 2,
    MU_CUDNN_TYPE_INT64 = 3,
    MU_CUDNN_TYPE_FLOAT = 4,
    MU_CUDNN_TYPE_VOID_PTR = 6,
    MU_CUDNN_TYPE_HEUR_MODE = 8,
    MU_CUDNN_TYPE_NUMERICAL_NOTE = 11,
    MU_CUDNN_TYPE_POINTWISE_MODE = 14,
    MU_CUDNN_TYPE_DESCRIPTOR = 15,
    MU_CUDNN_TYPE_REDUCTION_OPERATOR = 18,
};

/* cudnnDataType_t */
enum {
    MU_CUDNN_F32 = 0,
    MU_CUDNN_F16 = 2,
    MU_CUDNN_I32 = 4,
    MU_CUDNN_BF16 = 9,
    MU_CUDNN_BOOL = 11,
};

/* cudnnPointwiseMode_t */
enum {
    MU_CUDNN_ADD = 0,
    MU_CUDNN_MUL = 1,
    MU_CUDNN_DIV = 6,
    MU_CUDNN_SUB = 9,
    MU_CUDNN_EXP = 13,
    MU_CUDNN_LOG = 15,
    MU_CUDNN_GREATER_EQUAL = 303,
    MU_CUDNN_GEN_INDEX = 501,
    MU_CUDNN_SELECT = 601, /* y = t ? x : b */
};

enum { MU_CUDNN_REDUCE_ADD = 0, MU_CUDNN_REDUCE_MAX = 3 }; /* cudnnReduceTensorOp_t */
enum { MU_CUDNN_HEUR_FALLBACK = 2, MU_CUDNN_HEUR_A = 3 };  /* cudnnBackendHeurMode_t */
enum {
    MU_CUDNN_NOTE_NONDETERMINISTIC = 4,
    MU_CUDNN_NOTES = 32
}; /* cudnnBackendNumericalNote_t; room for later ones */

#define MU_CUDNN_TABLE(X)                                                                                    \
    X(create, "cudnnCreate", (mu_cudnn_handle_t *))                                                          \
    X(destroy, "cudnnDestroy", (mu_cudnn_handle_t))                                                          \
    X(set_stream, "cudnnSetStream", (mu_cudnn_handle_t, cudaStream_t))                                       \
    X(make, "cudnnBackendCreateDescriptor", (int, mu_cudnn_descriptor_t *))                                  \
    X(drop, "cudnnBackendDestroyDescriptor", (mu_cudnn_descriptor_t))                                        \
    X(finalize, "cudnnBackendFinalize", (mu_cudnn_descriptor_t))                                             \
    X(set, "cudnnBackendSetAttribute", (mu_cudnn_descriptor_t, int, int, int64_t, const void *))             \
    X(get, "cudnnBackendGetAttribute", (mu_cudnn_descriptor_t, int, int, int64_t, int64_t *, void *))        \
    X(execute, "cudnnBackendExecute", (mu_cudnn_handle_t, mu_cudnn_descriptor_t, mu_cudnn_descriptor_t))

typedef struct mu_cudnn {
    size_t (*get_version)(void);
    const char *(*error_string)(int status);
    void (*last_error)(char *message, size_t size);
#define MU_CUDNN_MEMBER(name, symbol, args) int(*name) args;
    MU_CUDNN_TABLE(MU_CUDNN_MEMBER)
#undef MU_CUDNN_MEMBER
    int version; /* 91900 */
} mu_cudnn_t;

/* The library stays open until the process ends. Errors: MU_CONFIG (not there, not of version 9.2 to 9, one with a
 * known fault in attention; what to do). */
mu_status_t mu_cudnn_open(mu_cudnn_t *out);

#endif
