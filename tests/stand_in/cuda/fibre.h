/*
 * Fibres: stacks that one thread switches between. All of them belong to the thread that makes the first; a
 * fibre's function never returns, it switches away for the last time. AddressSanitizer is notified of every
 * switch.
 */
#ifndef MU_STAND_IN_FIBRE_H
#define MU_STAND_IN_FIBRE_H

#include <stddef.h>

struct mu_fibre;

/* A fibre that runs enter(argument) when it is first switched to. What lies below its stack cannot be
 * touched.
 */
mu_fibre *mu_fibre_new(void (*enter)(void *), void *argument);
/* The fibre that stands for the thread's own stack. */
mu_fibre *mu_fibre_main(void);
/* Goes on in `to`; returns when something switches to `from`, which must be the running one. */
void mu_fibre_switch(mu_fibre *from, mu_fibre *to);
/* Whether p lies below a fibre's stack. */
bool mu_fibre_overflowed(const void *p);

#endif
