/* What the files of the stand-in share. */
#ifndef MU_STAND_IN_RUNTIME_H
#define MU_STAND_IN_RUNTIME_H

#include "launch.h"
#include "simt.h"

#include <functional>
#include <stddef.h>
#include <stdint.h>
#include <vector>

/* --- report.cpp --- */

/* Ends the program with the message and, on the device's thread, with kernel, block and thread. */
[[noreturn]] void mu_stand_in_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Once a process: faults and sanitizer reports tell where the kernel was. */
void mu_stand_in_report_faults(void);
/* A word of an environment variable: the text after `word` up to a space, or NULL when the word is not
 * there. */
const char *mu_stand_in_option(const char *variable, const char *word);

/* --- block.cpp: called by the device's thread --- */

void mu_stand_in_run(const mu_stand_in_kernel &kernel, const std::function<void()> &thread);
/* The kernel that runs, or NULL. */
const mu_stand_in_kernel *mu_stand_in_running(void);
void mu_stand_in_allow_shared(const void *kernel, size_t bytes);

/* --- memory.cpp --- */

/* The device's memory may be touched between these; calls nest, any thread. */
void mu_stand_in_memory_open(void);
void mu_stand_in_memory_close(void);
bool mu_stand_in_in_arena(const void *p);
/* The device whose allocation holds p (its end counts), or -1. */
int mu_stand_in_device_of(const void *p);
/* Ends the program unless [p, p + bytes) lies in one allocation of the device (-1: any). `what` names it. */
void mu_stand_in_check_device_range(const char *what, const void *p, size_t bytes, int device);
/* Ends the program if p is the device's. */
void mu_stand_in_check_host(const char *what, const void *p);
bool mu_stand_in_is_pinned(const void *p);
/* Takes memory of the device that has no address, or with bytes < 0 gives it back. False: there is not so much. */
bool mu_stand_in_take(int device, ptrdiff_t bytes);

/* --- graph.cpp --- */

/* What an operation of a graph does, and what looks at the memory that it names before it is done. */
struct mu_stand_in_node {
    std::function<bool()> step;
    std::function<void()> check; /* may be empty */
};
struct CUgraph_st {
    std::vector<mu_stand_in_node> nodes; /* one after the other */
    int device;
};

/* --- stream.cpp --- */

/* Work for a stream. `step` is called by the device's thread until it returns true; when it returns false it
 * was not yet its turn, and it left everything as it was. It is called with the memory closed, and opens it
 * by touch(). */
/* A stream that is captured keeps it: a graph calls `check` at each of its launches, which ends the program if what the
 * step touches is not there any more. Errors: of a capture that is spoiled already. */
cudaError_t mu_stand_in_enqueue(cudaStream_t stream, std::function<bool()> step,
                                std::function<void()> check = nullptr);
/* For steps: opens the memory until the device's thread next rests. */
void mu_stand_in_touch(void);
bool mu_stand_in_is_capturing(cudaStream_t stream);
/* For calls that may not be made while this thread captures, or any thread does in the global mode: spoils those
 * captures, and returns the error. */
cudaError_t mu_stand_in_unsafe(void);
/* The same of what no capture of the stream allows: waiting for it, memory that is no part of a graph. */
cudaError_t mu_stand_in_uncapturable(cudaStream_t stream);
/* Waits for everything of a device (-1: all). */
void mu_stand_in_drain(int device);
bool mu_stand_in_on_device_thread(void);

/* --- api.cpp --- */

int mu_stand_in_device_count(void);        /* 0: none */
int mu_stand_in_card(int device);          /* the same for every process that sees it */
int mu_stand_in_capability(void);          /* 90 for 9.0 */
size_t mu_stand_in_processor_shared(void); /* bytes that a multiprocessor has for its blocks */
int mu_stand_in_device(void);              /* this thread's */
size_t mu_stand_in_memory_size(void);
bool mu_stand_in_shall_fail(const char *function); /* STAND_IN_CUDA says so */
cudaError_t mu_stand_in_error(cudaError_t error);  /* keeps it for cudaGetLastError */

#endif
