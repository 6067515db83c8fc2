#include "worker/page.h"

#include <stdio.h>
#include <sys/mman.h>

mu_page_t *mu_page_new(void)
{
    mu_page_t *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    atomic_store(&page->world_rank, -1);
    atomic_store(&page->last_checkpoint, -1);
    return page;
}

void mu_page_progress(mu_page_t *page)
{
    if (page)
        atomic_fetch_add_explicit(&page->progress, 1, memory_order_relaxed);
}

void mu_page_phase(mu_page_t *page, mu_phase_t phase)
{
    if (!page)
        return;
    atomic_store(&page->phase, (int32_t)phase);
    mu_page_progress(page);
}

void mu_page_collective_begin(mu_page_t *page, const char *comm, uint64_t sequence, const char *operation,
                              int64_t bytes)
{
    if (!page)
        return;
    atomic_fetch_add(&page->collective_lock, 1);
    snprintf(page->comm, sizeof page->comm, "%s", comm);
    snprintf(page->operation, sizeof page->operation, "%s", operation);
    page->sequence = sequence;
    page->bytes = bytes;
    atomic_fetch_add(&page->collective_lock, 1);
    atomic_store(&page->in_collective, 1);
    mu_page_progress(page);
}

void mu_page_collective_end(mu_page_t *page)
{
    if (!page)
        return;
    atomic_store(&page->in_collective, 0);
    mu_page_progress(page);
}
