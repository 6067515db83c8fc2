/* Special tokens after a tokenizer's ids. */
#include "common/log.h"
#include "dataset/tokenizer/tokenizer_impl.h"

enum { NAME_MAX_BYTES = 256 };

/* The id of a token that reads like this: of one that is added, else of one of the model; -1. */
static int32_t find(const mu_tokenizer_t *tok, const char *name, bool *added)
{
    size_t n = strlen(name);
    int32_t found = -1;
    *added = false;
    for (int32_t id = 0; id < tok->vocab && !*added; id++) {
        const mu_piece_t *p = &tok->pieces[id];
        if ((p->model || p->added) && p->len == n && memcmp(mu_piece_bytes(tok, id), name, n) == 0) {
            found = id;
            *added = p->added;
        }
    }
    return found;
}

static mu_status_t check_ids(const mu_tokenizer_t *tok)
{
    for (int32_t id = 0; id < tok->vocab; id++)
        if (!tok->pieces[id].model && !tok->pieces[id].added)
            return mu_fail(MU_DATA,
                           "the tokenizer has no token of id %d though its last is %d: a token cannot be "
                           "added, since the tokenizers library would give it another id than muster",
                           id, tok->vocab - 1);
    return MU_OK;
}

static mu_status_t add_one(mu_tokenizer_t *tok, const char *name)
{
    size_t n = strlen(name);
    bool added;
    if (n == 0 || n > NAME_MAX_BYTES || mu_utf8_valid(name, n) != n)
        return mu_fail(MU_USAGE, "special token '%s': wanted 1 to %d bytes of UTF-8", name, NAME_MAX_BYTES);
    int32_t known = find(tok, name, &added);
    if (added)
        return MU_OK;
    if (known >= 0)
        return mu_fail(
            MU_USAGE,
            "special token '%s': the tokenizer has a plain token of this text, id %d: name one that "
            "text does not hold, as '<|%s|>'",
            name, known, name);
    if (tok->vocab >= MU_TOKENIZER_MAX_ID)
        return mu_fail(MU_USAGE, "special token '%s': no id is left below %d", name, MU_TOKENIZER_MAX_ID);
    mu_added_t token = {.id = tok->vocab, .special = true};
    mu_tokenizer_add_added(tok, &token, name);
    return MU_OK;
}

mu_status_t mu_tokenizer_add_specials(mu_tokenizer_t *tok, char *const *names, int n)
{
    mu_status_t status = check_ids(tok);
    for (int i = 0; status == MU_OK && i < n; i++)
        status = add_one(tok, names[i]);
    mu_tokenizer_reopen(tok);
    mu_status_t finished = mu_tokenizer_finish(tok);
    return status == MU_OK ? finished : status;
}

static bool same_piece(const mu_tokenizer_t *a, const mu_tokenizer_t *b, int32_t id)
{
    const mu_piece_t *p = &a->pieces[id], *q = &b->pieces[id];
    return p->model == q->model && p->raw == q->raw && p->added == q->added && p->len == q->len &&
           memcmp(mu_piece_bytes(a, id), mu_piece_bytes(b, id), p->len) == 0;
}

static bool same_added(const mu_added_t *a, const mu_added_t *b)
{
    return a->id == b->id && a->special == b->special && a->normalized == b->normalized &&
           a->lstrip == b->lstrip && a->rstrip == b->rstrip && a->single_word == b->single_word;
}

bool mu_tokenizer_extends(const mu_tokenizer_t *tok, const mu_tokenizer_t *base)
{
    bool same = tok->settings.len == base->settings.len &&
                memcmp(tok->settings.data, base->settings.data, base->settings.len) == 0 &&
                tok->merge_count == base->merge_count && tok->added_count >= base->added_count &&
                tok->vocab >= base->vocab;
    for (int32_t id = 0; same && id < base->vocab; id++)
        same = same_piece(tok, base, id);
    for (int32_t id = base->vocab; same && id < tok->vocab; id++)
        same = !tok->pieces[id].model;
    for (size_t r = 0; same && r < base->merge_count; r++)
        same = memcmp(&tok->merges[r], &base->merges[r], sizeof tok->merges[r]) == 0;
    for (size_t i = 0; same && i < base->added_count; i++)
        same = same_added(&tok->added[i], &base->added[i]);
    return same;
}
