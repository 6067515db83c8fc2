/* The stand-in's numbers are those of kernels/cuda/cudnn_api.h, and so cuDNN's: compiled, and never run. */
#include "kernels/cuda/cudnn_api.h"
#include "tests/stand_in/cudnn/cudnn.h"

#define SAME(own, theirs) static_assert((int)own == (int)theirs, #own " is " #theirs);
#include "cudnn_values.h"
