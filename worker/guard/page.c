#include "worker/guard/page.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

mu_page_t *mu_page_new(void)
{
    mu_page_t *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    atomic_store(&page->world_rank, -1);
#define FIRST(name, first, ...) atomic_store(&page->name, first);
    MU_METRIC_TABLE(FIRST, FIRST)
#undef FIRST
    return page;
}

void mu_page_progress(mu_page_t *page)
{
    if (page)
        atomic_fetch_add_explicit(&page->progress, 1, memory_order_relaxed);
}

void mu_page_metrics(mu_page_t *page, const mu_metric_values_t *values)
{
    if (!page)
        return;
#define STORE(name, ...) atomic_store(&page->name, values->name);
    MU_METRIC_TABLE(STORE, STORE)
#undef STORE
    mu_page_progress(page);
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
    mu_collective_t record = {.sequence = sequence, .bytes = bytes};
    uint64_t word[MU_COLLECTIVE_WORDS];
    snprintf(record.comm, sizeof record.comm, "%s", comm);
    snprintf(record.operation, sizeof record.operation, "%s", operation);
    memcpy(word, &record, sizeof word);
    atomic_fetch_add(&page->collective_lock, 1);
    for (int i = 0; i < MU_COLLECTIVE_WORDS; i++)
        atomic_store_explicit(&page->collective[i], word[i], memory_order_release);
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

/* A word that is new makes the counter before it visible too (release and acquire), so a mixture is always
 * noticed; no fence is needed, which gcc's thread sanitizer could not follow. */
bool mu_page_collective(const mu_page_t *page, mu_collective_t *out)
{
    uint64_t word[MU_COLLECTIVE_WORDS];
    bool whole = false;
    /* a rank that was stopped while writing leaves the counter odd for ever */
    for (int tries = 0; tries < 100 && !whole; tries++) {
        uint32_t before = atomic_load(&page->collective_lock);
        for (int i = 0; i < MU_COLLECTIVE_WORDS; i++)
            word[i] = atomic_load_explicit(&page->collective[i], memory_order_acquire);
        whole = before % 2 == 0 && atomic_load(&page->collective_lock) == before;
    }
    memcpy(out, word, sizeof *out);
    out->comm[sizeof out->comm - 1] = out->operation[sizeof out->operation - 1] = '\0';
    return whole;
}
