/* A libcuda.so.1 for machines without a driver: what cuDNN asks of one when it makes a plan. Code is taken as loaded,
 * and nothing can be run. */
#include <stddef.h>

enum { NO_DEVICE = 100 };

#define ABSENT(name)                                                                                         \
    int name(void);                                                                                          \
    int name(void)                                                                                           \
    {                                                                                                        \
        return NO_DEVICE;                                                                                    \
    }
ABSENT(cuCtxGetCurrent)
ABSENT(cuCtxGetLimit)
ABSENT(cuCtxPopCurrent)
ABSENT(cuCtxPushCurrent)
ABSENT(cuDeviceGet)
ABSENT(cuDeviceGetCount)
ABSENT(cuInit)
ABSENT(cuLaunchCooperativeKernel)
ABSENT(cuLaunchKernel)
ABSENT(cuLaunchKernelEx)
ABSENT(cuLibraryLoadFromFile)
ABSENT(cuLinkAddData)
ABSENT(cuLinkComplete)
ABSENT(cuLinkCreate)
ABSENT(cuLinkDestroy)
ABSENT(cuModuleLoadDataEx)
ABSENT(cuOccupancyMaxPotentialClusterSize)
ABSENT(cuStreamGetCtx)

/* The words of an error. */
#define SAYS(name)                                                                                           \
    int name(int error, const char **out);                                                                   \
    int name(int error, const char **out)                                                                    \
    {                                                                                                        \
        *out = error ? "no device" : "no error";                                                             \
        return 0;                                                                                            \
    }
SAYS(cuGetErrorName)
SAYS(cuGetErrorString)

/* One that gives a handle: any but NULL will do. */
#define GIVES(name)                                                                                          \
    int name(void **out);                                                                                    \
    int name(void **out)                                                                                     \
    {                                                                                                        \
        static char something;                                                                               \
        *out = &something;                                                                                   \
        return 0;                                                                                            \
    }
GIVES(cuLibraryLoadData)
GIVES(cuLibraryGetKernel)
GIVES(cuKernelGetFunction)
GIVES(cuModuleLoadData)
GIVES(cuModuleGetFunction)

/* One that gives a number. */
#define COUNTS(name, value)                                                                                  \
    int name(int *out);                                                                                      \
    int name(int *out)                                                                                       \
    {                                                                                                        \
        *out = (value);                                                                                      \
        return 0;                                                                                            \
    }
COUNTS(cuKernelGetAttribute, 0)
COUNTS(cuFuncGetAttribute, 0)
COUNTS(cuDriverGetVersion, 13000)

#define WORKS(name)                                                                                          \
    int name(void);                                                                                          \
    int name(void)                                                                                           \
    {                                                                                                        \
        return 0;                                                                                            \
    }

WORKS(cuLibraryUnload)
WORKS(cuModuleUnload)
WORKS(cuKernelSetAttribute)
WORKS(cuFuncSetAttribute)
