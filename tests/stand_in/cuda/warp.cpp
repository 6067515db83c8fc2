/* What the lanes of a warp do together, and a thread's loads and asynchronous copies. */
#include "block.h"
#include "narrow.h"

using namespace mu_block;

static unsigned waiting[THREADS / WARP]; /* lanes in an operation of their warp */

void mu_block::forget_warps(void)
{
    memset(waiting, 0, sizeof waiting);
}

namespace
{
bool same_operation(const lane_part &a, const lane_part &b)
{
    return a.op == b.op && a.mask == b.mask && a.kind == b.kind && a.where.line == b.where.line &&
           strcmp(a.where.file, b.where.file) == 0;
}

void shuffle(thread *warp, unsigned mask)
{
    uint64_t value[WARP];
    for (int i = 0; i < WARP; i++)
        value[i] = mask >> i & 1 ? warp[i].part.value : 0;
    for (int i = 0; i < WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        lane_part &p = warp[i].part;
        int width = p.width, base = i & ~(width - 1), from = i, inside = i - base;
        if (p.kind == MU_SHUFFLE_INDEX)
            from = base + (p.operand & (width - 1));
        else if (p.kind == MU_SHUFFLE_XOR)
            from = (inside ^ p.operand) < width ? base + (inside ^ p.operand) : i;
        else if (p.kind == MU_SHUFFLE_DOWN)
            from = inside + p.operand < width ? i + p.operand : i;
        else
            from = inside >= p.operand ? i - p.operand : i;
        if (!(mask >> from & 1))
            mu_stand_in_fail("%s:%d: lane %d reads from lane %d, which the mask %#x leaves out", p.where.file,
                             p.where.line, i, from, mask);
        p.value = value[from];
    }
}

/* m16n8k16; group and pair are the PTX ISA's groupID and threadID_in_group. */
void mma(thread *warp, warp_op op)
{
    float a[16][16], b[16][8], c[16][8];
    auto wide = [op](uint32_t two, int i) {
        uint16_t bits = (uint16_t)(two >> 16 * i);
        return op == MMA_BF16 ? mu_stand_in_bf16::to(bits) : mu_stand_in_f16::to(bits);
    };
    for (int lane = 0; lane < WARP; lane++) {
        const lane_part &p = warp[lane].part;
        const uint32_t *ra = (const uint32_t *)p.in[0], *rb = (const uint32_t *)p.in[1];
        const float *rc = (const float *)p.in[2];
        int group = lane / 4, pair = lane % 4;
        for (int i = 0; i < 8; i++) {
            int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
            int column = pair * 2 + (i & 1) + (i >= 4 ? 8 : 0);
            a[row][column] = wide(ra[i / 2], i & 1);
        }
        for (int i = 0; i < 4; i++) {
            b[pair * 2 + (i & 1) + (i >= 2 ? 8 : 0)][group] = wide(rb[i / 2], i & 1);
            c[i < 2 ? group : group + 8][pair * 2 + (i & 1)] = rc[i];
        }
    }
    for (int row = 0; row < 16; row++) {
        double sum[8] = {0};
        for (int k = 0; k < 16; k++)
            for (int column = 0; column < 8; column++)
                sum[column] += (double)a[row][k] * (double)b[k][column];
        for (int column = 0; column < 8; column++)
            c[row][column] = (float)(sum[column] + (double)c[row][column]);
    }
    for (int lane = 0; lane < WARP; lane++) {
        float *d = (float *)warp[lane].part.out;
        for (int i = 0; i < 4; i++)
            d[i] = c[i < 2 ? lane / 4 : lane / 4 + 8][lane % 4 * 2 + (i & 1)];
    }
}

void ldmatrix(thread *warp)
{
    int count = warp[0].part.operand;
    bool transpose = warp[0].part.width != 0;
    for (int m = 0; m < count; m++) {
        uint16_t cell[8][8];
        for (int row = 0; row < 8; row++) {
            const lane_part &p = warp[m * 8 + row].part;
            const char *address = (const char *)p.in[0];
            if ((uintptr_t)address % 16 != 0)
                mu_stand_in_fail("%s:%d: ldmatrix: lane %d gives %p, which is no multiple of 16",
                                 p.where.file, p.where.line, m * 8 + row, (const void *)address);
            if (address < shared_memory || address + 16 > shared_memory + mu_stand_in_running()->shared)
                mu_stand_in_fail("%s:%d: ldmatrix: lane %d gives %p, outside of the dynamic shared memory",
                                 p.where.file, p.where.line, m * 8 + row, (const void *)address);
            memcpy(cell[row], address, 16);
        }
        for (int lane = 0; lane < WARP; lane++) {
            int row = lane / 4, column = lane % 4 * 2;
            uint16_t low = transpose ? cell[column][row] : cell[row][column];
            uint16_t high = transpose ? cell[column + 1][row] : cell[row][column + 1];
            ((uint32_t *)warp[lane].part.out)[m] = (uint32_t)high << 16 | low;
        }
    }
}

void perform(thread *warp, const lane_part &part)
{
    switch (part.op) {
    case SHUFFLE:
        shuffle(warp, part.mask);
        break;
    case BALLOT: {
        uint64_t votes = 0;
        for (int i = 0; i < WARP; i++)
            if ((part.mask >> i & 1) && warp[i].part.value)
                votes |= 1ULL << i;
        for (int i = 0; i < WARP; i++)
            if (part.mask >> i & 1)
                warp[i].part.value = votes;
        break;
    }
    case WARP_BARRIER:
        break;
    case LDMATRIX:
        ldmatrix(warp);
        break;
    default:
        mma(warp, part.op);
    }
}

/* Brings the running lane's part; returns when all lanes of the mask have come and the operation is done. */
uint64_t with_warp(const lane_part &part)
{
    int lane = current % WARP, warp_number = current / WARP;
    thread *warp = threads + warp_number * WARP;
    unsigned mask = part.mask;
    if (!(mask >> lane & 1))
        mu_stand_in_fail("%s:%d: lane %d is not in its own mask %#x", part.where.file, part.where.line, lane,
                         mask);
    for (int i = 0; i < WARP; i++)
        if ((mask >> i & 1) && (warp_number * WARP + i >= thread_count || warp[i].at == GONE))
            mu_stand_in_fail("%s:%d: lane %d of the mask %#x %s", part.where.file, part.where.line, i, mask,
                             warp_number * WARP + i >= thread_count ? "does not exist" : "has returned");
    warp[lane].part = part;
    waiting[warp_number] |= 1U << lane;
    bool all = (waiting[warp_number] & mask) == mask;
    for (int i = 0; all && i < WARP; i++)
        if (mask >> i & 1)
            all = same_operation(warp[i].part, part);
    if (!all) {
        warp[lane].fibre = on;
        wait_here(IN_WARP);
        return warp[lane].part.value;
    }
    waiting[warp_number] &= ~mask;
    perform(warp, part);
    for (int i = 0; i < WARP; i++) {
        int l = ahead ? WARP - 1 - i : i;
        if ((mask >> l & 1) && l != lane)
            make_ready(warp_number * WARP + l);
    }
    return warp[lane].part.value;
}

lane_part a_part(warp_op op, unsigned mask, mu_stand_in_where where)
{
    return {op, where, mask, 0, 0, 0, 0, {nullptr, nullptr, nullptr}, nullptr};
}
} // namespace

uint64_t mu_stand_in_shuffle_bits(mu_stand_in_shuffle kind, unsigned mask, uint64_t value, int operand,
                                  int width, mu_stand_in_where where)
{
    if (width < 1 || width > WARP || (width & (width - 1)))
        mu_stand_in_fail("%s:%d: a shuffle's width is %d, no power of two up to 32", where.file, where.line,
                         width);
    lane_part part = a_part(SHUFFLE, mask, where);
    part.kind = kind;
    part.value = value;
    part.operand = operand;
    part.width = width;
    return with_warp(part);
}

unsigned mu_stand_in_ballot(unsigned mask, bool predicate, mu_stand_in_where where)
{
    lane_part part = a_part(BALLOT, mask, where);
    part.value = predicate;
    return (unsigned)with_warp(part);
}

void mu_stand_in_warp_barrier(unsigned mask, mu_stand_in_where where)
{
    with_warp(a_part(WARP_BARRIER, mask, where));
}

static void multiply(warp_op op, float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4],
                     mu_stand_in_where where)
{
    lane_part part = a_part(op, 0xffffffffU, where);
    part.in[0] = a;
    part.in[1] = b;
    part.in[2] = c;
    part.out = d;
    with_warp(part);
}

void mu_stand_in_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4],
                          mu_stand_in_where where)
{
    multiply(MMA_BF16, d, a, b, c, where);
}

void mu_stand_in_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4],
                         mu_stand_in_where where)
{
    multiply(MMA_F16, d, a, b, c, where);
}

void mu_stand_in_ldmatrix(uint32_t *r, int count, bool transpose, const void *row, mu_stand_in_where where)
{
    if (count != 1 && count != 2 && count != 4)
        mu_stand_in_fail("%s:%d: ldmatrix of %d matrices; there are x1, x2 and x4", where.file, where.line,
                         count);
    lane_part part = a_part(LDMATRIX, 0xffffffffU, where);
    part.operand = count;
    part.width = transpose;
    part.in[0] = row;
    part.out = r;
    with_warp(part);
}

/* --- loads, asynchronous copies --- */

void mu_stand_in_check_aligned(const void *p, size_t alignment, mu_stand_in_where where)
{
    if ((uintptr_t)p % alignment != 0)
        mu_stand_in_fail("%s:%d: %p is no multiple of %zu", where.file, where.line, p, alignment);
}

void mu_stand_in_cp_async(void *shared, const void *global, int bytes, int from_bytes,
                          mu_stand_in_where where)
{
    if ((bytes != 4 && bytes != 8 && bytes != 16) || from_bytes < 0 || from_bytes > bytes)
        mu_stand_in_fail("%s:%d: cp.async of %d of %d bytes", where.file, where.line, from_bytes, bytes);
    mu_stand_in_check_aligned(shared, (size_t)bytes, where);
    mu_stand_in_check_aligned(global, (size_t)bytes, where);
    if ((char *)shared < shared_memory ||
        (char *)shared + bytes > shared_memory + mu_stand_in_running()->shared)
        mu_stand_in_fail("%s:%d: cp.async to %p, outside of the dynamic shared memory", where.file,
                         where.line, shared);
    thread &me = threads[current];
    if (!me.copies)
        me.copies = new std::vector<std::vector<copy>>(1);
    me.copies->back().push_back({shared, global, bytes, from_bytes});
}

void mu_stand_in_cp_async_commit(void)
{
    thread &me = threads[current];
    if (!me.copies)
        me.copies = new std::vector<std::vector<copy>>(1);
    me.copies->emplace_back();
}

void mu_stand_in_cp_async_wait(int groups)
{
    thread &me = threads[current];
    if (!me.copies)
        return;
    int done = (int)me.copies->size() - 1 - groups;
    for (int g = 0; g < done; g++) {
        for (const copy &c : (*me.copies)[(size_t)g]) {
            if (c.from_bytes > 0)
                memcpy(c.to, c.from, (size_t)c.from_bytes);
            memset((char *)c.to + c.from_bytes, 0, (size_t)(c.bytes - c.from_bytes));
        }
    }
    if (done > 0)
        me.copies->erase(me.copies->begin(), me.copies->begin() + done);
}
