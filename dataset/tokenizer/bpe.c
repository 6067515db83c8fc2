#include "dataset/tokenizer/bpe.h"
#include "common/buf.h"

#include <stdbool.h>

static size_t slot_of(const mu_bpe_t *bpe, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9E3779B97F4A7C15u;
    return (size_t)(key >> 32 ^ key >> 15) & bpe->mask;
}

void mu_bpe_init(mu_bpe_t *bpe, const mu_merge_t *merges, size_t count)
{
    size_t size = 16;
    while (size < count * 2)
        size *= 2;
    bpe->mask = size - 1;
    bpe->slots = mu_alloc(size * sizeof *bpe->slots);
    for (size_t i = 0; i < size; i++)
        bpe->slots[i] = (mu_merge_slot_t){-1, -1, -1, MU_BPE_NO_RANK};
    for (size_t r = 0; r < count; r++) {
        const mu_merge_t *m = &merges[r];
        size_t i = slot_of(bpe, m->left, m->right);
        while (bpe->slots[i].left >= 0 && (bpe->slots[i].left != m->left || bpe->slots[i].right != m->right))
            i = (i + 1) & bpe->mask;
        bpe->slots[i] = (mu_merge_slot_t){m->left, m->right, m->joined, (uint32_t)r};
    }
}

void mu_bpe_release(mu_bpe_t *bpe)
{
    free(bpe->slots);
    bpe->slots = NULL;
}

void mu_bpe_work_release(mu_bpe_work_t *work)
{
    free(work->memory);
    *work = (mu_bpe_work_t){NULL, 0};
}

/* The merge of a pair; one with MU_BPE_NO_RANK when there is none. */
static const mu_merge_slot_t *find(const mu_bpe_t *bpe, int32_t left, int32_t right)
{
    const mu_merge_slot_t *slot = &bpe->slots[slot_of(bpe, left, right)];
    while (slot->left >= 0 && (slot->left != left || slot->right != right))
        slot = slot == bpe->slots + bpe->mask ? bpe->slots : slot + 1;
    return slot;
}

#define SHORT_WORD 64

/* Looks for the lowest rank again after each merge: quadratic, and the fastest for words as text has them. */
static size_t merge_short(const mu_bpe_t *bpe, int32_t *ids, size_t n)
{
    uint32_t rank[SHORT_WORD];
    int32_t joined[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++) {
        const mu_merge_slot_t *slot = find(bpe, ids[i], ids[i + 1]);
        rank[i] = slot->rank;
        joined[i] = slot->joined;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == MU_BPE_NO_RANK)
            break;
        ids[best] = joined[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            rank[i] = rank[i + 1];
            joined[i] = joined[i + 1];
        }
        if (best > 0) {
            const mu_merge_slot_t *slot = find(bpe, ids[best - 1], ids[best]);
            rank[best - 1] = slot->rank;
            joined[best - 1] = slot->joined;
        }
        if (best + 1 < n) {
            const mu_merge_slot_t *slot = find(bpe, ids[best], ids[best + 1]);
            rank[best] = slot->rank;
            joined[best] = slot->joined;
        }
    }
    return n;
}

/* A long word is a linked list of symbols and a heap of the merges that its neighbours have. A symbol that is
 * merged leaves its heap entries; they no longer agree with `rank` when they come up. */
typedef struct symbol {
    int32_t previous, next; /* -1: none */
    int32_t joined;         /* with the next symbol */
    uint32_t rank;          /* of that merge */
} symbol_t;

typedef struct heap {
    uint64_t *key; /* rank * 2^32 + position: lowest rank first, then leftmost */
    size_t len;
} heap_t;

static void heap_push(heap_t *heap, uint64_t key)
{
    size_t i = heap->len++;
    while (i > 0 && heap->key[(i - 1) / 2] > key) {
        heap->key[i] = heap->key[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->key[i] = key;
}

static uint64_t heap_pop(heap_t *heap)
{
    uint64_t top = heap->key[0], last = heap->key[--heap->len];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < heap->len; i = child) {
        if (child + 1 < heap->len && heap->key[child + 1] < heap->key[child])
            child++;
        if (heap->key[child] >= last)
            break;
        heap->key[i] = heap->key[child];
    }
    heap->key[i] = last;
    return top;
}

static void look_up(const mu_bpe_t *bpe, const int32_t *ids, symbol_t *symbols, heap_t *heap, int32_t i)
{
    symbols[i].rank = MU_BPE_NO_RANK;
    if (symbols[i].next < 0)
        return;
    const mu_merge_slot_t *slot = find(bpe, ids[i], ids[symbols[i].next]);
    if (slot->rank == MU_BPE_NO_RANK)
        return;
    symbols[i].rank = slot->rank;
    symbols[i].joined = slot->joined;
    heap_push(heap, (uint64_t)slot->rank << 32 | (uint32_t)i);
}

static size_t merge_long(const mu_bpe_t *bpe, mu_bpe_work_t *work, int32_t *ids, size_t n)
{
    /* at most n - 1 entries at the start and two more for each of n - 1 merges, which took one away */
    size_t bytes = n * sizeof(symbol_t) + 2 * n * sizeof(uint64_t);
    if (bytes > work->bytes) {
        free(work->memory);
        work->memory = mu_alloc(bytes);
        work->bytes = bytes;
    }
    heap_t heap = {work->memory, 0};
    symbol_t *symbols = (symbol_t *)(void *)(heap.key + 2 * n);
    for (size_t i = 0; i < n; i++) {
        symbols[i].previous = (int32_t)i - 1;
        symbols[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i < n; i++)
        look_up(bpe, ids, symbols, &heap, (int32_t)i);
    while (heap.len > 0) {
        uint64_t top = heap_pop(&heap);
        int32_t i = (int32_t)(uint32_t)top;
        if (symbols[i].rank != top >> 32)
            continue;
        int32_t gone = symbols[i].next;
        ids[i] = symbols[i].joined;
        symbols[i].next = symbols[gone].next;
        symbols[gone].rank = MU_BPE_NO_RANK;
        if (symbols[i].next >= 0)
            symbols[symbols[i].next].previous = i;
        look_up(bpe, ids, symbols, &heap, i);
        if (symbols[i].previous >= 0)
            look_up(bpe, ids, symbols, &heap, symbols[i].previous);
    }
    size_t left = 0;
    for (int32_t i = 0; i >= 0; i = symbols[i].next)
        ids[left++] = ids[i];
    return left;
}

size_t mu_bpe_merge(const mu_bpe_t *bpe, mu_bpe_work_t *work, int32_t *ids, size_t n)
{
    return n <= SHORT_WORD ? merge_short(bpe, ids, n) : merge_long(bpe, work, ids, n);
}
