#include "fibre.h"
#include "poison.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#ifdef MU_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

/* A kernel's locals, several calls deep; sanitizers make frames larger. Pages that are not touched cost
 * nothing. */
static const size_t STACK = 256 << 10, GUARD = 64 << 10;

struct mu_fibre {
#ifdef __x86_64__
    void *sp;
#else
    ucontext_t context;
#endif
    void (*enter)(void *);
    void *argument;
    char *stack;
    const void *bottom; /* of the stack, for the sanitizer */
    size_t size;
    void *fake; /* the sanitizer's frames, while the fibre does not run */
};

static mu_fibre the_main;
static mu_fibre *came_from; /* the fibre that the running one was switched to from */

/* What a fibre does first after it was switched to. */
static void arrive(mu_fibre *self)
{
#ifdef MU_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(self->fake, &bottom, &size);
    if (came_from == &the_main) {
        the_main.bottom = bottom;
        the_main.size = size;
    }
#else
    (void)self;
    (void)came_from;
#endif
}

static void begin(mu_fibre *self)
{
    arrive(self);
    self->enter(self->argument);
    abort();
}

#ifdef __x86_64__
/* Keeps what a call must preserve (System V ABI) on the old stack, takes it from the new one. */
extern "C" void mu_fibre_swap(void **save, void *load);
__asm__(".text\n"
        ".globl mu_fibre_swap\n"
        ".hidden mu_fibre_swap\n"
        ".type mu_fibre_swap, @function\n"
        "mu_fibre_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size mu_fibre_swap, .-mu_fibre_swap\n"
        /* the first frame of a fibre: rbx holds it */
        ".hidden mu_fibre_first\n"
        ".type mu_fibre_first, @function\n"
        "mu_fibre_first:\n"
        "    movq %rbx, %rdi\n"
        "    call *%r12\n"
        "    ud2\n"
        ".size mu_fibre_first, .-mu_fibre_first\n");
extern "C" char mu_fibre_first[];

static void prepare(mu_fibre *f)
{
    uint64_t *sp = (uint64_t *)(f->stack + GUARD + f->size);
    *--sp = 0; /* keeps the stack aligned to 16 at the call */
    *--sp = 0;
    *--sp = (uint64_t)mu_fibre_first;
    *--sp = 0;                       /* rbp */
    *--sp = (uint64_t)f;             /* rbx */
    *--sp = (uint64_t)(void *)begin; /* r12 */
    *--sp = 0;
    *--sp = 0;
    *--sp = 0;
    f->sp = sp;
}

static void swap(mu_fibre *from, mu_fibre *to)
{
    mu_fibre_swap(&from->sp, to->sp);
}
#else
static void begin_halves(unsigned high, unsigned low)
{
    begin((mu_fibre *)((uintptr_t)high << 16 << 16 | low));
}

static void prepare(mu_fibre *f)
{
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack + GUARD;
    f->context.uc_stack.ss_size = f->size;
    f->context.uc_link = NULL;
    uintptr_t p = (uintptr_t)f;
    makecontext(&f->context, (void (*)())begin_halves, 2, (unsigned)(p >> 16 >> 16), (unsigned)p);
}

static void swap(mu_fibre *from, mu_fibre *to)
{
    swapcontext(&from->context, &to->context);
}
#endif

mu_fibre *mu_fibre_main(void)
{
    return &the_main;
}

/* All stacks, for the question which page was touched. */
static char *stacks[4096];
static int stack_count;

mu_fibre *mu_fibre_new(void (*enter)(void *), void *argument)
{
    mu_fibre *f = (mu_fibre *)calloc(1, sizeof *f);
    void *stack =
        mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!f || stack == MAP_FAILED || mprotect(stack, GUARD, PROT_NONE) != 0 ||
        stack_count == (int)(sizeof stacks / sizeof *stacks)) {
        fprintf(stderr, "stand-in for CUDA: no memory for a fibre's stack\n");
        abort();
    }
    f->stack = stacks[stack_count++] = (char *)stack;
    f->enter = enter;
    f->argument = argument;
    f->bottom = f->stack + GUARD;
    /* stacks that all begin at one place within a page would share a few lines of the cache */
    f->size = STACK - (size_t)(stack_count % 64) * 256;
    prepare(f);
    return f;
}

void mu_fibre_switch(mu_fibre *from, mu_fibre *to)
{
    came_from = from;
#ifdef MU_ASAN
    __sanitizer_start_switch_fiber(&from->fake, to->bottom, to->size);
#endif
    swap(from, to);
    arrive(from);
}

bool mu_fibre_overflowed(const void *p)
{
    for (int i = 0; i < stack_count; i++)
        if ((const char *)p >= stacks[i] && (const char *)p < stacks[i] + GUARD)
            return true;
    return false;
}
