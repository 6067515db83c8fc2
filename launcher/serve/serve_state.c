/* What the parts of the server ask of its loop. */
#include "launcher/serve/serve_impl.h"

#include <unistd.h>

bool mu_serve_ready(const mu_serve_t *s)
{
    return !s->draining && s->current && s->current->state == MU_BACKEND_READY;
}

void mu_serve_wake(mu_serve_t *s)
{
    uint64_t one = 1;
    if (write(s->wake, &one, sizeof one) < 0) {
        /* it is full: the loop wakes anyway */
    }
}
