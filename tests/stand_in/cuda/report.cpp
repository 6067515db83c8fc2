/* How the stand-in ends a program: with what happened, and where in which kernel. */
#include "fibre.h"
#include "runtime.h"

#include <mutex>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* There when a sanitizer is. */
extern "C" void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void say_where(void)
{
    const mu_stand_in_kernel *kernel = mu_stand_in_running();
    if (!kernel || !mu_stand_in_on_device_thread())
        return;
    const mu_stand_in_place &p = mu_stand_in_now;
    fprintf(stderr,
            "stand-in for CUDA: in kernel %s, block (%u, %u, %u) of (%u, %u, %u), thread (%u, %u, %u) of "
            "(%u, %u, %u)\n",
            kernel->name, p.block.x, p.block.y, p.block.z, p.grid_dim.x, p.grid_dim.y, p.grid_dim.z,
            p.thread.x, p.thread.y, p.thread.z, p.block_dim.x, p.block_dim.y, p.block_dim.z);
}

void mu_stand_in_fail(const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fputs("stand-in for CUDA: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    say_where();
    signal(SIGABRT, SIG_DFL);
    abort();
}

static struct sigaction before[NSIG];

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (number == SIGILL && mu_stand_in_running())
        fprintf(stderr, "stand-in for CUDA: an address is no multiple of what its type needs\n");
    else if (mu_fibre_overflowed(info->si_addr))
        fprintf(stderr, "stand-in for CUDA: the locals of a kernel do not fit the stack of a thread\n");
    else if (mu_stand_in_in_arena(info->si_addr))
        fprintf(stderr, "stand-in for CUDA: %s %p, device memory, %s\n",
                mu_stand_in_on_device_thread() ? "a kernel touched" : "the host touched", info->si_addr,
                mu_stand_in_on_device_thread() ? "outside of every allocation"
                                               : "which only the device can read");
    say_where();
    sigaction(number, &before[number], NULL); /* the fault comes again, for whoever handled it before */
}

void mu_stand_in_report_faults(void)
{
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE})
            sigaction(number, &action, &before[number]);
        if (__sanitizer_set_death_callback)
            __sanitizer_set_death_callback(say_where);
    });
}

const char *mu_stand_in_option(const char *variable, const char *word)
{
    const char *text = getenv(variable);
    size_t length = strlen(word);
    while (text && *text) {
        while (*text == ' ')
            text++;
        if (strncmp(text, word, length) == 0 &&
            (word[length - 1] == '=' || text[length] == ' ' || !text[length]))
            return text + length;
        while (*text && *text != ' ')
            text++;
    }
    return NULL;
}
