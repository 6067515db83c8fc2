/* The numbers of kernels/cuda/cudnn_api.h are those of cuDNN's own header: compiled, and never run. */
#include "kernels/cuda/cudnn_api.h"

typedef struct CUgraph_st
    *cudaGraph_t; /* two names of CUDA's that its header wants and the stand-in's lacks */
typedef int libraryPropertyType;
#include <cudnn_graph.h>

#define SAME(own, theirs) static_assert((int)own == (int)theirs, #own " is " #theirs);
#include "cudnn_values.h"
