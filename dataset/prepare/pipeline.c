#include "dataset/prepare/pipeline.h"
#include "common/buf.h"
#include "common/log.h"

#include <pthread.h>

enum { BATCH = 256 << 10, PIECE = 1 << 20, IN_FLIGHT = 32 << 20, KEEP = 4 << 20, SLOTS_A_THREAD = 4 };

/* A part of a document, or all of it. */
typedef struct piece {
    size_t end;     /* of its text in the slot's */
    bool continues; /* the document began before it */
    bool finishes;  /* the document ends with it */
    int origin;     /* of the document */
    uint64_t digest;
    size_t whole; /* bytes, of a conversation */
    size_t bytes; /* of them those that its ids stand for */
    int answers,
        first; /* of a conversation: how many, and where in the slot's they begin; answers -1: it is none */
} piece_t;

typedef enum slot_state { FREE, FILLED, TAKEN, DONE } slot_state_t;

/* Some text on its way; owned by whoever its state says: reading (FREE), a worker (TAKEN), writing (DONE). */
typedef struct slot {
    slot_state_t state;
    mu_buf_t text;
    piece_t *pieces;
    size_t count, room;
    mu_ids_t ids;
    size_t *id_ends;      /* one a piece */
    mu_buf_t labels;      /* of conversations: a byte an id */
    mu_chat_text_t marks; /* of all conversations, one after the other; its text is not used */
    mu_status_t status;
} slot_t;

/* Slots form a ring: filled at `head`, taken at `next`, written at `tail`. The lock guards these and the
 * states. */
typedef struct pipeline {
    pthread_mutex_t lock;
    pthread_cond_t filled, done;
    bool stop;
    slot_t *slots;
    uint64_t count, head, next, tail;
    const mu_tokenizer_t *tok;
    const mu_pipeline_chat_t *chat;

    /* of the reading and writing thread only */
    mu_reader_t *reader;
    const mu_pipeline_sink_t *sink;
    mu_doc_t doc; /* being cut; text NULL: none */
    bool doc_cut; /* a part of it has gone ahead */
    size_t in_flight;
    mu_ids_t ids; /* of a document whose end has not come */
    uint64_t text_bytes;
} pipeline_t;

/* ---- workers ---- */

static mu_status_t encode_chat(const pipeline_t *p, mu_encoder_t *encoder, slot_t *slot, piece_t *piece,
                               size_t from)
{
    const mu_chat_text_t *m = &slot->marks;
    mu_chat_marks_t marks = {m->answers + piece->first, m->turns + piece->first, m->trained + piece->first,
                             piece->answers};
    return mu_chat_encode(encoder, p->tok, slot->text.data + from, piece->end - from, &marks, p->chat->on,
                          p->chat->most, &slot->ids, &slot->labels, &piece->bytes);
}

static void encode_slot(const pipeline_t *p, mu_encoder_t *encoder, slot_t *slot)
{
    size_t from = 0;
    slot->status = MU_OK;
    for (size_t i = 0; i < slot->count && slot->status == MU_OK; i++) {
        piece_t *piece = &slot->pieces[i];
        if (piece->answers >= 0)
            slot->status = encode_chat(p, encoder, slot, piece, from);
        else
            slot->status = (piece->continues ? mu_encoder_continue : mu_encoder_encode)(
                encoder, slot->text.data + from, piece->end - from, &slot->ids, NULL);
        from = piece->end;
        slot->id_ends[i] = slot->ids.len;
    }
}

static void *work(void *arg)
{
    pipeline_t *p = arg;
    mu_encoder_t *encoder = mu_encoder_new(p->tok);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->slots[p->next % p->count].state != FILLED)
            pthread_cond_wait(&p->filled, &p->lock);
        if (p->stop)
            break;
        slot_t *slot = &p->slots[p->next++ % p->count];
        slot->state = TAKEN;
        pthread_mutex_unlock(&p->lock);
        encode_slot(p, encoder, slot);
        pthread_mutex_lock(&p->lock);
        slot->state = DONE;
        pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
    mu_encoder_free(encoder);
    return NULL;
}

/* ---- reading ---- */

/* How much of the document's rest goes into one piece: all, or as much as changes no id. */
static size_t piece_length(const pipeline_t *p)
{
    for (size_t n = p->doc.chat ? p->doc.bytes : PIECE; n < p->doc.bytes; n *= 2) {
        size_t cut = mu_tokenizer_cut(p->tok, p->doc.text, n);
        if (cut > 0)
            return cut;
    }
    return p->doc.bytes;
}

/* Appends a conversation's answers to those of the slot; returns where they begin. */
static int add_marks(mu_chat_text_t *to, const mu_chat_text_t *from)
{
    int first = to->count;
    if (to->room < first + from->count) {
        to->room = 2 * (first + from->count);
        to->answers = mu_realloc(to->answers, (size_t)to->room * sizeof *to->answers);
        to->turns = mu_realloc(to->turns, (size_t)to->room * sizeof *to->turns);
        to->trained = mu_realloc(to->trained, (size_t)to->room * sizeof *to->trained);
    }
    for (int i = 0; i < from->count; i++) {
        to->answers[first + i] = from->answers[i];
        to->turns[first + i] = from->turns[i];
        to->trained[first + i] = from->trained[i];
    }
    to->count += from->count;
    return first;
}

static void add_piece(slot_t *slot, const mu_doc_t *doc, size_t n, bool continues)
{
    if (slot->count == slot->room) {
        slot->room = slot->room ? slot->room * 2 : 64;
        slot->pieces = mu_realloc(slot->pieces, slot->room * sizeof *slot->pieces);
        slot->id_ends = mu_realloc(slot->id_ends, slot->room * sizeof *slot->id_ends);
    }
    mu_buf_add(&slot->text, doc->text, n);
    slot->pieces[slot->count++] = (piece_t){.end = slot->text.len,
                                            .continues = continues,
                                            .finishes = n == doc->bytes,
                                            .origin = doc->origin,
                                            .digest = doc->digest,
                                            .whole = n,
                                            .bytes = n,
                                            .answers = doc->chat ? doc->chat->count : -1,
                                            .first = doc->chat ? add_marks(&slot->marks, doc->chat) : 0};
}

/* Fills a free slot with pieces, BATCH bytes or one that is longer; none at the end of the input. */
static mu_status_t fill(pipeline_t *p, slot_t *slot)
{
    while (slot->text.len < BATCH) {
        if (!p->doc.text)
            MU_TRY(mu_reader_next(p->reader, &p->doc));
        if (!p->doc.text)
            break;
        size_t n = piece_length(p);
        add_piece(slot, &p->doc, n, p->doc_cut);
        p->doc_cut = n < p->doc.bytes;
        p->doc.text += n;
        p->doc.bytes -= n;
        if (p->doc.bytes == 0)
            p->doc.text = NULL;
    }
    return MU_OK;
}

static void publish(pipeline_t *p, slot_t *slot)
{
    p->in_flight += slot->text.len;
    pthread_mutex_lock(&p->lock);
    slot->state = FILLED;
    p->head++;
    pthread_cond_signal(&p->filled);
    pthread_mutex_unlock(&p->lock);
}

/* ---- writing ---- */

static mu_status_t write_piece(pipeline_t *p, const int32_t *ids, const unsigned char *labels, size_t n,
                               const piece_t *piece)
{
    p->text_bytes += piece->bytes;
    if (!piece->finishes || p->ids.len > 0) {
        mu_ids_reserve(&p->ids, n);
        if (n > 0)
            memcpy(p->ids.data + p->ids.len, ids, n * sizeof *ids);
        p->ids.len += n;
        ids = p->ids.data;
        n = p->ids.len;
    }
    if (!piece->finishes)
        return MU_OK;
    mu_encoded_t doc = {ids, n, p->text_bytes, piece->digest, piece->origin, labels, piece->whole};
    mu_status_t status = p->sink->document(p->sink->arg, &doc);
    p->text_bytes = 0;
    p->ids.len = 0;
    return status;
}

static mu_status_t write_slot(pipeline_t *p, slot_t *slot)
{
    size_t id = 0;
    MU_TRY(slot->status);
    for (size_t i = 0; i < slot->count; i++) {
        const piece_t *piece = &slot->pieces[i];
        const unsigned char *labels =
            piece->answers >= 0 ? (const unsigned char *)slot->labels.data + id : NULL;
        MU_TRY(write_piece(p, slot->ids.data + id, labels, slot->id_ends[i] - id, piece));
        id = slot->id_ends[i];
    }
    return MU_OK;
}

/* Waits for the oldest slot and gives its documents on. */
static mu_status_t write_oldest(pipeline_t *p)
{
    slot_t *slot = &p->slots[p->tail % p->count];
    pthread_mutex_lock(&p->lock);
    while (slot->state != DONE)
        pthread_cond_wait(&p->done, &p->lock);
    slot->state = FREE;
    pthread_mutex_unlock(&p->lock);
    p->tail++;
    mu_status_t status = write_slot(p, slot);
    p->in_flight -= slot->text.len;
    mu_buf_clear(&slot->text);
    mu_buf_clear(&slot->labels);
    slot->marks.count = 0;
    slot->ids.len = slot->count = 0;
    if (slot->text.cap > KEEP)
        mu_buf_release(&slot->text);
    if (slot->ids.cap > KEEP)
        mu_ids_release(&slot->ids);
    if (p->sink->tick)
        p->sink->tick(p->sink->arg);
    return status;
}

/* Reads and writes by turns; the workers encode meanwhile. What was read before an error is still written. */
static mu_status_t feed(pipeline_t *p)
{
    mu_status_t reading = MU_OK;
    for (bool more = true; more;) {
        while (p->head - p->tail == p->count || (p->in_flight > IN_FLIGHT && p->head > p->tail))
            MU_TRY(write_oldest(p));
        slot_t *slot = &p->slots[p->head % p->count];
        reading = fill(p, slot);
        more = reading == MU_OK && slot->count > 0;
        if (slot->count > 0)
            publish(p, slot);
    }
    while (p->tail < p->head)
        MU_TRY(write_oldest(p));
    return reading;
}

static void release(pipeline_t *p)
{
    for (uint64_t i = 0; i < p->count; i++) {
        mu_buf_release(&p->slots[i].text);
        mu_ids_release(&p->slots[i].ids);
        mu_buf_release(&p->slots[i].labels);
        mu_chat_text_release(&p->slots[i].marks);
        free(p->slots[i].pieces);
        free(p->slots[i].id_ends);
    }
    free(p->slots);
    mu_ids_release(&p->ids);
    pthread_cond_destroy(&p->filled);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
}

mu_status_t mu_pipeline_run(mu_reader_t *reader, const mu_tokenizer_t *tok, int threads,
                            const mu_pipeline_chat_t *chat, const mu_pipeline_sink_t *sink)
{
    pipeline_t p = {.count = (uint64_t)threads * SLOTS_A_THREAD,
                    .tok = tok,
                    .chat = chat,
                    .reader = reader,
                    .sink = sink};
    pthread_t *thread = mu_calloc((size_t)threads, sizeof *thread);
    p.slots = mu_calloc(p.count, sizeof *p.slots);
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.filled, NULL);
    pthread_cond_init(&p.done, NULL);
    int started = 0;
    while (started < threads && pthread_create(&thread[started], NULL, work, &p) == 0)
        started++;
    mu_status_t status = started > 0 ? feed(&p) : mu_fail(MU_BUG, "cannot start a thread");
    pthread_mutex_lock(&p.lock);
    p.stop = true;
    pthread_cond_broadcast(&p.filled);
    pthread_mutex_unlock(&p.lock);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    release(&p);
    free(thread);
    return status;
}
