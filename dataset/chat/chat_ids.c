#include "dataset/chat/chat_ids.h"

#include <string.h>

/* One conversation in the making: ids[first, end) of `ids` are its own. */
typedef struct work {
    mu_encoder_t *encoder;
    const char *text;
    size_t n;
    const int32_t *ids;
    size_t count;
    const size_t *ends; /* NULL: they do not spell the text */
} work_t;

/* How many tokens end at or before byte `at`; *inside is whether another one begins before it. */
static mu_status_t tokens_before(const work_t *w, size_t at, size_t *out, bool *inside)
{
    if (w->ends) {
        size_t low = 0, high = w->count; /* tokens below `low` end there, tokens from `high` on do not */
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (w->ends[middle] <= at)
                low = middle + 1;
            else
                high = middle;
        }
        *out = low;
        *inside = low < w->count && (low > 0 ? w->ends[low - 1] : 0) < at;
        return MU_OK;
    }
    /* what the text up to there has in common with the whole */
    mu_ids_t part = MU_IDS_INIT;
    mu_status_t status = mu_encoder_encode(w->encoder, w->text, at, &part, NULL);
    size_t same = 0;
    while (same < part.len && same < w->count && part.data[same] == w->ids[same])
        same++;
    *out = same;
    *inside = same < part.len;
    mu_ids_release(&part);
    return status;
}

/* Tokens that hold a character of [from, to). */
static mu_status_t tokens_of(const work_t *w, mu_chat_span_t span, size_t *first, size_t *end)
{
    bool inside;
    MU_TRY(tokens_before(w, span.from, first, &inside));
    MU_TRY(tokens_before(w, span.to, end, &inside));
    *end += inside && *end < w->count;
    return MU_OK;
}

static mu_status_t mark(const work_t *w, const mu_chat_marks_t *marks, mu_loss_on_t on, char *labels)
{
    if (on == MU_LOSS_ON_ALL) {
        memset(labels, 1, w->count);
        return MU_OK;
    }
    memset(labels, 0, w->count);
    for (int i = on == MU_LOSS_ON_COMPLETION ? marks->count - 1 : 0; i < marks->count; i++) {
        size_t first, end;
        if (i < 0 || !marks->trained[i])
            continue;
        MU_TRY(tokens_of(w, marks->answers[i], &first, &end));
        if (end > first)
            memset(labels + first, 1, end - first);
    }
    return MU_OK;
}

/* The longest beginning of whole turns of at most `most` tokens in which one counts: its tokens and bytes; 0: there is
 * none. */
static mu_status_t cut_at_turn(const work_t *w, const mu_chat_marks_t *marks, int64_t most,
                               const char *labels, size_t *kept, size_t *bytes)
{
    *kept = *bytes = 0;
    for (int i = marks->count - 1; i >= 0; i--) {
        size_t end;
        bool inside;
        MU_TRY(tokens_before(w, marks->turns[i].to, &end, &inside));
        end += inside;
        if (end > (size_t)most || end == 0)
            continue;
        if (memchr(labels, 1, end)) {
            *kept = end;
            *bytes = marks->turns[i].to;
        }
        return MU_OK;
    }
    return MU_OK;
}

mu_status_t mu_chat_encode(mu_encoder_t *encoder, const mu_tokenizer_t *tok, const char *text, size_t n,
                           const mu_chat_marks_t *marks, mu_loss_on_t on, int64_t most, mu_ids_t *ids,
                           mu_buf_t *labels, size_t *bytes)
{
    size_t first = ids->len, label = labels->len, kept;
    MU_TRY(mu_encoder_encode(encoder, text, n, ids, NULL));
    work_t w = {encoder, text, n, ids->data + first, ids->len - first, NULL};
    size_t *ends = mu_alloc((w.count + 1) * sizeof *ends);
    if (mu_tokenizer_ends(tok, text, n, w.ids, w.count, ends))
        w.ends = ends;
    mu_buf_reserve(labels, w.count);
    kept = w.count;
    *bytes = n;
    mu_status_t status = mark(&w, marks, on, labels->data + label);
    if (status == MU_OK && most > 0 && w.count > (size_t)most)
        status = cut_at_turn(&w, marks, most, labels->data + label, &kept, bytes);
    if (status != MU_OK)
        kept = 0;
    ids->len = first + kept;
    labels->len = label + kept;
    labels->data[labels->len] = '\0';
    free(ends);
    return status;
}
