/*
 * What a kernel may call besides arithmetic: where it is, barriers, shuffles, votes, atomics, cached loads,
 * asynchronous copies and the matrix instructions. Each function that waits for others ends the program, with
 * kernel, block, thread and line, where a card would hang or be undefined: lanes missing from the mask, a
 * thread that left before a barrier, threads at different barriers, a source lane outside the mask,
 * misaligned addresses.
 */
#ifndef MU_STAND_IN_SIMT_H
#define MU_STAND_IN_SIMT_H

#include "vector_types.h"
#include <stdint.h>
#include <string.h>

/* Where the running thread is. */
struct mu_stand_in_place {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
};
extern mu_stand_in_place mu_stand_in_now;
#define threadIdx (static_cast<const uint3 &>(mu_stand_in_now.thread))
#define blockIdx  (static_cast<const uint3 &>(mu_stand_in_now.block))
#define blockDim  (static_cast<const dim3 &>(mu_stand_in_now.block_dim))
#define gridDim   (static_cast<const dim3 &>(mu_stand_in_now.grid_dim))
static const int warpSize = 32;

/* A line of a kernel, for messages and to tell one barrier from another. */
struct mu_stand_in_where {
    const char *file;
    int line;
    mu_stand_in_where(const char *f = __builtin_FILE(), int l = __builtin_LINE()) : file(f), line(l)
    {
    }
};

/* Waits for all threads of the block; true when a thread says so (count: how many do). */
int mu_stand_in_barrier(bool predicate, mu_stand_in_where where);
enum mu_stand_in_shuffle { MU_SHUFFLE_INDEX, MU_SHUFFLE_XOR, MU_SHUFFLE_DOWN, MU_SHUFFLE_UP };
uint64_t mu_stand_in_shuffle_bits(mu_stand_in_shuffle kind, unsigned mask, uint64_t value, int operand,
                                  int width, mu_stand_in_where where);
unsigned mu_stand_in_ballot(unsigned mask, bool predicate, mu_stand_in_where where);
void mu_stand_in_warp_barrier(unsigned mask, mu_stand_in_where where);
/* Ends the program unless p is a multiple of `alignment`. */
void mu_stand_in_check_aligned(const void *p, size_t alignment, mu_stand_in_where where);

static inline void __syncthreads(mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    mu_stand_in_barrier(false, where);
}
static inline int __syncthreads_or(int predicate,
                                   mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_barrier(predicate != 0, where) != 0;
}
static inline int __syncthreads_count(int predicate,
                                      mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_barrier(predicate != 0, where);
}
static inline void __syncwarp(unsigned mask = 0xffffffffU,
                              mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    mu_stand_in_warp_barrier(mask, where);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate,
                                     mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_ballot(mask, predicate != 0, where);
}
static inline int __any_sync(unsigned mask, int predicate,
                             mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_ballot(mask, predicate != 0, where) != 0;
}
static inline int __all_sync(unsigned mask, int predicate,
                             mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_ballot(mask, predicate != 0, where) == mask;
}

template <class T>
T mu_stand_in_shuffled(mu_stand_in_shuffle kind, unsigned mask, T value, int operand, int width,
                       mu_stand_in_where where)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = mu_stand_in_shuffle_bits(kind, mask, bits, operand, width, where);
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_shuffled(MU_SHUFFLE_INDEX, mask, value, lane, width, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_shuffled(MU_SHUFFLE_XOR, mask, value, bits, width, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_shuffled(MU_SHUFFLE_DOWN, mask, value, (int)delta, width, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})
{
    return mu_stand_in_shuffled(MU_SHUFFLE_UP, mask, value, (int)delta, width, where);
}

static inline void __threadfence()
{
}
static inline void __threadfence_block()
{
}

/* --- atomics: fibres change only where they wait, so plain reads and writes are atomic --- */

template <class T> T atomicAdd(T *p, T value)
{
    T old = *p;
    *p = (T)(old + value);
    return old;
}
template <class T> T atomicSub(T *p, T value)
{
    T old = *p;
    *p = (T)(old - value);
    return old;
}
template <class T> T atomicMax(T *p, T value)
{
    T old = *p;
    *p = old < value ? value : old;
    return old;
}
template <class T> T atomicMin(T *p, T value)
{
    T old = *p;
    *p = value < old ? value : old;
    return old;
}
template <class T> T atomicExch(T *p, T value)
{
    T old = *p;
    *p = value;
    return old;
}
template <class T> T atomicCAS(T *p, T compare, T value)
{
    T old = *p;
    if (old == compare)
        *p = value;
    return old;
}
template <class T> T atomicOr(T *p, T value)
{
    T old = *p;
    *p = (T)(old | value);
    return old;
}
static inline unsigned atomicInc(unsigned *p, unsigned limit)
{
    unsigned old = *p;
    *p = old >= limit ? 0 : old + 1;
    return old;
}

/* --- loads and stores with a hint --- */

#define MU_STAND_IN_LOAD(name)                                                                               \
    template <class T> T name(const T *p, mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})    \
    {                                                                                                        \
        mu_stand_in_check_aligned(p, alignof(T), where);                                                     \
        return *p;                                                                                           \
    }
#define MU_STAND_IN_STORE(name)                                                                              \
    template <class T>                                                                                       \
    void name(T *p, T value, mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()})                 \
    {                                                                                                        \
        mu_stand_in_check_aligned(p, alignof(T), where);                                                     \
        *p = value;                                                                                          \
    }
MU_STAND_IN_LOAD(__ldg)
MU_STAND_IN_LOAD(__ldca)
MU_STAND_IN_LOAD(__ldcg)
MU_STAND_IN_LOAD(__ldcs)
MU_STAND_IN_LOAD(__ldlu)
MU_STAND_IN_STORE(__stcg)
MU_STAND_IN_STORE(__stcs)
MU_STAND_IN_STORE(__stwb)
MU_STAND_IN_STORE(__stwt)
#undef MU_STAND_IN_LOAD
#undef MU_STAND_IN_STORE

/* --- instructions that cu.h writes in PTX for a card: all 32 lanes of a warp call them together --- */

/* mma.sync.aligned.m16n8k16.row.col.f32.{bf16,f16}.{bf16,f16}.f32: d = a b + c; d may be c. Fragments as in
 * the PTX ISA, "Matrix Fragments for mma.m16n8k16". */
void mu_stand_in_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4],
                          mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()});
void mu_stand_in_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4],
                         mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()});
/* ldmatrix.sync.aligned.m8n8.x{1,2,4}{.trans}.shared.b16: lane i gives the address of row i % 8 of matrix i
 * / 8. */
void mu_stand_in_ldmatrix(uint32_t *r, int count, bool transpose, const void *row,
                          mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()});
/* cp.async: the thread's copies of 4, 8 or 16 bytes, the last bytes - from_bytes of them zeros, take place in
 * its wait. */
void mu_stand_in_cp_async(void *shared, const void *global, int bytes, int from_bytes,
                          mu_stand_in_where where = {__builtin_FILE(), __builtin_LINE()});
void mu_stand_in_cp_async_commit(void);
void mu_stand_in_cp_async_wait(int groups); /* until at most `groups` of the newest are left */

#endif
