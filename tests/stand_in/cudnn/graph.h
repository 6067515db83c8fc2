/* A graph of attention as the stand-in for cuDNN computes it. */
#ifndef MU_STAND_IN_CUDNN_GRAPH_H
#define MU_STAND_IN_CUDNN_GRAPH_H

#include "cudnn.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

struct cudnn_tensor {
    int type;
    int64_t dim[4], stride[4], uid;
    bool between, number; /* virtual; by value */

    int64_t elements() const
    {
        return dim[0] * dim[1] * dim[2] * dim[3];
    }
};

enum class cudnn_kind { matmul, pointwise, reduce, reshape };

struct cudnn_operation {
    cudnn_kind kind;
    int mode;                /* of pointwise and reduce */
    int64_t axis;            /* of GEN_INDEX */
    std::vector<int64_t> in; /* uids: a, b; x, b, t; x */
    int64_t out;
};

struct cudnn_graph {
    std::map<int64_t, cudnn_tensor> tensor; /* by uid */
    std::vector<cudnn_operation> operation;
    bool backward = false;
};

/* --- judge.cpp: "" or what is wrong --- */

std::string mu_cudnn_judge_tensor(const cudnn_tensor &t);
std::string mu_cudnn_judge_operation(const cudnn_operation &o, const std::map<int64_t, cudnn_tensor> &tensor);
/* Whether tensors are made before they are read. */
std::string mu_cudnn_judge_graph(const cudnn_graph &g);
/* Whether an engine takes it: the form of attention, types, sizes, the card. Fills g.backward. */
std::string mu_cudnn_judge_attention(cudnn_graph &g, int version, int capability);

/* --- compute.cpp --- */

/* On the device's thread: pointers of memory and numbers by uid. `noise` is added to what is written. */
void mu_cudnn_compute(const cudnn_graph &g, const std::map<int64_t, void *> &memory,
                      const std::map<int64_t, double> &number, double noise);
size_t mu_cudnn_size_of(int type);

#endif
