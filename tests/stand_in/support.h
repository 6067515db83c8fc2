/* For the tests of the stand-in: cmocka in C++, device arrays, and cases that must end the program. */
#ifndef MU_STAND_IN_SUPPORT_H
#define MU_STAND_IN_SUPPORT_H

#include "cuda_runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <string>
#include <vector>
extern "C" {
#include <cmocka.h>
}

#define OK(call) assert_int_equal((int)(call), (int)cudaSuccess)

static cudaStream_t stream; /* of the running test */

static inline int make_stream(void **state)
{
    (void)state;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return 0;
}
static inline int free_stream(void **state)
{
    (void)state;
    OK(cudaStreamDestroy(stream));
    return 0;
}

/* An array on the device, freed with its scope. */
template <class T> struct array {
    T *p = nullptr;
    size_t n;

    explicit array(size_t count) : n(count)
    {
        OK(cudaMalloc(&p, n * sizeof(T)));
    }
    explicit array(const std::vector<T> &from) : array(from.size())
    {
        OK(cudaMemcpyAsync(p, from.data(), n * sizeof(T), cudaMemcpyHostToDevice, stream));
    }
    array(const array &) = delete;
    array &operator=(const array &) = delete;
    ~array()
    {
        cudaFree(p);
    }
    std::vector<T> get() const
    {
        std::vector<T> to(n);
        OK(cudaMemcpyAsync(to.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost, stream));
        OK(cudaStreamSynchronize(stream));
        return to;
    }
};

/* This program once more, with `arguments`; what it writes to standard error goes to *errors. */
static inline pid_t start_self(const std::vector<std::string> &arguments, int *errors)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        std::vector<char *> argv = {(char *)"self"};
        for (const std::string &a : arguments)
            argv.push_back((char *)a.c_str());
        argv.push_back(NULL);
        execv("/proc/self/exe", argv.data());
        _exit(126);
    }
    close(ends[1]);
    *errors = ends[0];
    return child;
}

/* What it said, and how it ended (as waitpid has it). */
static inline std::string wait_self(pid_t child, int errors, int *status)
{
    std::string text;
    char piece[512];
    for (ssize_t n; (n = read(errors, piece, sizeof piece)) > 0;)
        text.append(piece, (size_t)n);
    close(errors);
    assert_int_equal(waitpid(child, status, 0), child);
    return text;
}

static inline std::string run_self(const std::vector<std::string> &arguments, int *status)
{
    int errors;
    pid_t child = start_self(arguments, &errors);
    return wait_self(child, errors, status);
}

#endif
