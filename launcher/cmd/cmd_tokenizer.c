#include "launcher/cmd/cmd.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/num.h"
#include "dataset/prepare/reader.h"
#include "dataset/prepare/stream.h"
#include "dataset/tokenizer/tokenizer.h"
#include "dataset/tokenizer/tokenizer_train.h"

#include <errno.h>
#include <unistd.h>

#define BLOCK ((size_t)4 << 20)

typedef struct arguments {
    mu_words_t inputs;
    const char *tokenizer, *output, *text_key;
    int64_t vocab, min_count;
    bool json, documents;
} arguments_t;

static const mu_option_t train_options[] = {
    MU_OPT("--input", "PATH", MU_OPTION_MANY, offsetof(arguments_t, inputs),
           "text or JSONL files, plain or compressed, directories, or - for stdin", .required = true),
    MU_OPT("--vocab-size", "N", MU_OPTION_INT, offsetof(arguments_t, vocab),
           "ids wanted, 258 and more: <|endoftext|>, <|padding|>, 256 bytes, then merges", .min = 1,
           .max = INT32_MAX, .required = true),
    MU_OPT("--output", "FILE", MU_OPTION_TEXT, offsetof(arguments_t, output),
           "the tokenizer.json to write; replaced whole or not at all", .choices = "FILE", .required = true),
    MU_OPT("--min-frequency", "N", MU_OPTION_INT, offsetof(arguments_t, min_count),
           "merge no pair seen less often (default 2)", .min = 1, .max = INT32_MAX),
    MU_OPT("--text-key", "NAME", MU_OPTION_TEXT, offsetof(arguments_t, text_key),
           "the member of a JSONL object that holds the text (default text)", ),
    MU_OPT_END};

static const mu_option_t encode_options[] = {
    MU_OPT("--tokenizer", "FILE", MU_OPTION_TEXT, offsetof(arguments_t, tokenizer),
           "tokenizer.json, or vocab.json with merges.txt beside it, or a directory with them",
           .choices = "FILE", .required = true),
    MU_OPT("--input", "PATH", MU_OPTION_MANY, offsetof(arguments_t, inputs),
           "a file, plain or compressed, or - for stdin", .required = true),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(arguments_t, json),
           "one JSON array of numbers instead of one id a line", ),
    MU_OPT(
        "--documents", NULL, MU_OPTION_FLAG, offsetof(arguments_t, documents),
        "the documents of text or JSONL instead, as `muster prepare` reads them: one line of ids for each, "
        "without "
        "<|endoftext|>", ),
    MU_OPT("--text-key", "NAME", MU_OPTION_TEXT, offsetof(arguments_t, text_key),
           "with --documents: the member of a JSONL object that holds the text (default text)", ),
    MU_OPT_END};

static const mu_option_t decode_options[] = {
    MU_OPT("--tokenizer", "FILE", MU_OPTION_TEXT, offsetof(arguments_t, tokenizer), "as for encode",
           .choices = "FILE", .required = true),
    MU_OPT("--input", "PATH", MU_OPTION_MANY, offsetof(arguments_t, inputs),
           "ids with white space between them, or a JSON array of them; - for stdin", .required = true),
    MU_OPT_END};

const mu_command_t mu_tokenizer_train_command = {
    .name = "tokenizer train",
    .summary = "learn a byte-level BPE tokenizer from text",
    .about = "Learns a byte-level BPE tokenizer of N ids from text. The same text gives the same file.",
    .options = train_options,
    .exits = "0; 2 bad command line; 65 text damaged; 66 input missing; 73 the output cannot be written"};
const mu_command_t mu_tokenizer_encode_command = {
    .name = "tokenizer encode",
    .summary = "text to token ids",
    .about = "Writes the token ids of a file to stdout. The file is one text; `decode` gives it back. What "
             "is not UTF-8 "
             "becomes U+FFFD, and is counted on stderr.",
    .options = encode_options,
    .exits = "0; 2 bad command line; 65 tokenizer or text damaged; 66 input missing"};
const mu_command_t mu_tokenizer_decode_command = {
    .name = "tokenizer decode",
    .summary = "token ids to text",
    .about = "Writes the text that token ids stand for to stdout, special tokens included.",
    .options = decode_options,
    .exits = "0; 2 bad command line; 65 tokenizer or ids damaged; 66 input missing"};

static mu_status_t one_input(const arguments_t *a)
{
    return a->inputs.count == 1 ? MU_OK
                                : mu_fail(MU_USAGE, "tokenizer: one --input at a time, not '%s' and '%s'",
                                          a->inputs.item[0], a->inputs.item[1]);
}

static mu_status_t flush(mu_buf_t *out)
{
    if (!mu_write_all(STDOUT_FILENO, out->data, out->len))
        return mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
    mu_buf_clear(out);
    return MU_OK;
}

static mu_status_t next_document(void *arg, const char **text, size_t *n)
{
    mu_doc_t doc;
    MU_TRY(mu_reader_next(arg, &doc));
    uint64_t done, total;
    mu_reader_progress(arg, &done, &total);
    mu_meter_set(done, total);
    *text = doc.text;
    *n = doc.bytes;
    return MU_OK;
}

/* Before the work of minutes, and not as a failure of the storage behind it. */
static mu_status_t check_output(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash ? mu_format("%.*s", (int)(slash - path) + 1, path) : mu_strdup(".");
    mu_status_t status = MU_OK;
    if (mu_is_dir(path))
        status = mu_fail(MU_RUNDIR, "%s: is a directory: name the tokenizer.json to write", path);
    else if (access(parent, W_OK | X_OK) != 0)
        status = mu_fail(MU_RUNDIR, "%s: cannot be written: %s: %s", path, parent, strerror(errno));
    free(parent);
    return status;
}

static mu_status_t train(const arguments_t *a)
{
    MU_TRY(check_output(a->output));
    mu_reader_options_t reading = MU_READER_DEFAULTS;
    mu_tokenizer_train_options_t training = MU_TOKENIZER_TRAIN_DEFAULTS;
    mu_tokenizer_train_counts_t counts;
    mu_reader_t *reader;
    mu_tokenizer_t *tok = NULL;
    int64_t start = mu_now_ns();
    reading.text_key = a->text_key;
    training.vocab = (int32_t)a->vocab;
    training.min_count = (uint64_t)a->min_count;
    MU_TRY(mu_reader_open(a->inputs.item, a->inputs.count, &reading, &reader));
    mu_meter_begin("tokenizer train: reading", MU_METER_BYTES, 0);
    mu_status_t status = mu_tokenizer_train(next_document, reader, &training, &tok, &counts);
    mu_meter_end();
    if (status == MU_OK)
        status = mu_tokenizer_save(tok, a->output);
    if (status == MU_OK) {
        char bytes[32];
        mu_info("%s: %d ids from %llu documents, %s, %llu distinct words, in %.1f s", a->output,
                mu_tokenizer_vocab(tok), (unsigned long long)counts.texts,
                mu_human_bytes(counts.bytes, bytes, sizeof bytes), (unsigned long long)counts.words,
                (double)(mu_now_ns() - start) * 1e-9);
        if (mu_tokenizer_vocab(tok) < training.vocab)
            mu_warn("%s: %d ids instead of %d: no further pair is seen %lld times; more text gives more",
                    a->output, mu_tokenizer_vocab(tok), training.vocab, (long long)a->min_count);
    }
    mu_tokenizer_free(tok);
    mu_reader_close(reader);
    return status;
}

/* Ids as text: "1\n2\n", or the inside of a JSON array. */
static void print_ids(const mu_ids_t *ids, bool json, bool *first, mu_buf_t *out)
{
    for (size_t i = 0; i < ids->len; i++) {
        char digits[16];
        int n = snprintf(digits, sizeof digits, json ? (*first ? "%d" : ",%d") : "%d\n", ids->data[i]);
        mu_buf_add(out, digits, (size_t)n);
        *first = false;
    }
}

/* The whole input is one text. It is encoded up to a safe place as soon as a block is there, so memory is
 * bounded.
 */
static mu_status_t encode_text(const mu_tokenizer_t *tok, mu_encoder_t *encoder, mu_stream_t *stream,
                               bool json, size_t *replaced)
{
    mu_buf_t text = MU_BUF_INIT, out = MU_BUF_INIT;
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status = MU_OK;
    bool first = true, begun = false;
    size_t got;
    if (json)
        mu_buf_addc(&out, '[');
    do {
        mu_buf_reserve(&text, BLOCK);
        MU_TRY_GOTO(status, mu_stream_read(stream, text.data + text.len, BLOCK, &got), out);
        text.len += got;
        size_t bad, cut = got > 0 ? mu_tokenizer_cut(tok, text.data, text.len) : text.len;
        if (cut == 0)
            continue;
        ids.len = 0;
        MU_TRY_GOTO(status,
                    (begun ? mu_encoder_continue : mu_encoder_encode)(encoder, text.data, cut, &ids, &bad),
                    out);
        begun = true;
        *replaced += bad;
        print_ids(&ids, json, &first, &out);
        MU_TRY_GOTO(status, flush(&out), out);
        memmove(text.data, text.data + cut, text.len - cut);
        text.len -= cut;
    } while (got > 0);
    if (json) {
        mu_buf_adds(&out, "]\n");
        status = flush(&out);
    }
out:
    mu_ids_release(&ids);
    mu_buf_release(&out);
    mu_buf_release(&text);
    return status;
}

static mu_status_t encode_documents(mu_encoder_t *encoder, mu_reader_t *reader)
{
    mu_buf_t out = MU_BUF_INIT;
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status;
    mu_doc_t doc;
    while ((status = mu_reader_next(reader, &doc)) == MU_OK && doc.text) {
        ids.len = 0;
        MU_TRY_GOTO(status, mu_encoder_encode(encoder, doc.text, doc.bytes, &ids, NULL), out);
        for (size_t i = 0; i < ids.len; i++)
            mu_buf_addf(&out, i ? " %d" : "%d", ids.data[i]);
        mu_buf_addc(&out, '\n');
        if (out.len > BLOCK)
            MU_TRY_GOTO(status, flush(&out), out);
    }
    if (status == MU_OK)
        status = flush(&out);
out:
    mu_ids_release(&ids);
    mu_buf_release(&out);
    return status;
}

static mu_status_t encode(const arguments_t *a)
{
    if (a->json && a->documents)
        return mu_fail(MU_USAGE, "tokenizer encode: --json is one array, --documents are many: choose one");
    if (a->inputs.count > 1 && !a->documents)
        return mu_fail(MU_USAGE, "tokenizer encode: one --input is one text, found %d", a->inputs.count);
    mu_reader_options_t reading = MU_READER_DEFAULTS;
    mu_tokenizer_t *tok;
    mu_stream_t *stream = NULL;
    mu_reader_t *reader = NULL;
    size_t replaced = 0;
    mu_status_t status;
    reading.text_key = a->text_key;
    MU_TRY(mu_tokenizer_load(a->tokenizer, &tok));
    mu_encoder_t *encoder = mu_encoder_new(tok);
    if (a->documents) {
        MU_TRY_GOTO(status, mu_reader_open(a->inputs.item, a->inputs.count, &reading, &reader), out);
        status = encode_documents(encoder, reader);
        mu_reader_close(reader);
    } else {
        MU_TRY_GOTO(status, mu_stream_open(a->inputs.item[0], &stream), out);
        status = encode_text(tok, encoder, stream, a->json, &replaced);
        mu_stream_close(stream);
    }
    if (status == MU_OK && replaced > 0)
        mu_warn("%s: %zu places are not UTF-8: U+FFFD stands for them", a->inputs.item[0], replaced);
out:
    mu_encoder_free(encoder);
    mu_tokenizer_free(tok);
    return status;
}

/* Ids as `encode` writes them, read a block at a time. */
typedef struct id_reader {
    const char *path;
    size_t line;
    int64_t number; /* being read, -1: none */
    bool array;     /* began with [ */
    bool closed;    /* ended with ] */
    bool comma;     /* a comma or [ stands before: no other comma, no ] after a comma */
    bool any;
} id_reader_t;

static mu_status_t unexpected(const id_reader_t *r, char c)
{
    return mu_fail(MU_DATA,
                   c >= 32 && c < 127
                       ? "%s:%zu: unexpected '%c': wanted are token ids, one a line or as a JSON array"
                       : "%s:%zu: unexpected byte 0x%02x: wanted are token ids, one a line or as a "
                         "JSON array",
                   r->path, r->line, (unsigned char)c);
}

static mu_status_t read_id_char(id_reader_t *r, char c, mu_ids_t *ids)
{
    if (c >= '0' && c <= '9' && !r->closed && (r->number >= 0 || !r->array || !r->any || r->comma)) {
        r->number = (r->number < 0 ? 0 : r->number) * 10 + (c - '0');
        r->any = true;
        r->comma = false;
        return r->number <= INT32_MAX ? MU_OK
                                      : mu_fail(MU_DATA, "%s:%zu: a number above 2^31 - 1", r->path, r->line);
    }
    if (r->number >= 0)
        mu_ids_add(ids, (int32_t)r->number);
    r->number = -1;
    if (c == '\n')
        r->line++;
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
        return MU_OK;
    if (c == '[' && !r->array && !r->any)
        r->array = true;
    else if (c == ',' && r->array && r->any && !r->comma && !r->closed)
        r->comma = true;
    else if (c == ']' && r->array && !r->comma && !r->closed)
        r->closed = true;
    else
        return unexpected(r, c);
    return MU_OK;
}

static mu_status_t decode_ids(const mu_tokenizer_t *tok, const char *path, mu_stream_t *stream)
{
    id_reader_t r = {.path = path, .line = 1, .number = -1};
    mu_decoder_t *decoder = mu_decoder_new(tok, false);
    char *block = mu_alloc(65536);
    mu_ids_t ids = MU_IDS_INIT;
    mu_buf_t out = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    size_t got;
    do {
        MU_TRY_GOTO(status, mu_stream_read(stream, block, 65536, &got), out);
        ids.len = 0;
        for (size_t i = 0; i < got; i++)
            MU_TRY_GOTO(status, read_id_char(&r, block[i], &ids), out);
        if (got == 0 && r.number >= 0)
            mu_ids_add(&ids, (int32_t)r.number);
        MU_TRY_GOTO(status, mu_decoder_add(decoder, ids.data, ids.len, &out), out);
        if (got == 0)
            mu_decoder_end(decoder, &out);
        MU_TRY_GOTO(status, flush(&out), out);
    } while (got > 0);
    if (r.array && !r.closed)
        status = mu_fail(MU_DATA, "%s:%zu: the array has no end: wanted is ']'", path, r.line);
out:
    mu_decoder_free(decoder);
    free(block);
    mu_ids_release(&ids);
    mu_buf_release(&out);
    return status;
}

static mu_status_t decode(const arguments_t *a)
{
    MU_TRY(one_input(a));
    mu_tokenizer_t *tok;
    mu_stream_t *stream;
    MU_TRY(mu_tokenizer_load(a->tokenizer, &tok));
    mu_status_t status = mu_stream_open(a->inputs.item[0], &stream);
    if (status == MU_OK) {
        status = decode_ids(tok, a->inputs.item[0], stream);
        mu_stream_close(stream);
    }
    mu_tokenizer_free(tok);
    return status;
}

mu_status_t mu_cmd_tokenizer(int argc, char **argv)
{
    static const struct {
        const mu_command_t *command;
        mu_status_t (*run)(const arguments_t *a);
    } verbs[] = {{&mu_tokenizer_train_command, train},
                 {&mu_tokenizer_encode_command, encode},
                 {&mu_tokenizer_decode_command, decode}};
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        puts("usage: muster tokenizer train|encode|decode ARGS...\n\n"
             "Byte-level BPE tokenizers, as tokenizer.json or GPT-2's vocab.json + merges.txt hold them.\n"
             "muster tokenizer train|encode|decode --help says more about one.");
        return MU_OK;
    }
    for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++) {
        if (strcmp(verb, strchr(verbs[v].command->name, ' ') + 1) != 0)
            continue;
        arguments_t a = {.text_key = "text", .min_count = 2};
        bool help;
        mu_status_t status = mu_options_parse(verbs[v].command, argc - 1, argv + 1, &a, NULL, &help);
        if (status == MU_OK && !help)
            status = verbs[v].run(&a);
        mu_options_release(verbs[v].command, &a);
        return status;
    }
    return mu_fail(MU_USAGE,
                   "tokenizer: %s%s%strain, encode or decode is wanted: see muster tokenizer --help",
                   *verb ? "not '" : "", verb, *verb ? "': " : "");
}
