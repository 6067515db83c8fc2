/* GPT-2's vocab.json + merges.txt -> tokenizer. */
#include "dataset/tokenizer/tokenizer_files.h"
#include "dataset/tokenizer/tokenizer_impl.h"
#include "common/file.h"
#include "common/log.h"

static mu_status_t read_merges(mu_tokenizer_t *tok, const char *path, json_t *vocab)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_file_read_text(path, MU_TOKENIZER_MAX_FILE, &text);
    size_t lines = 1, number = 0;
    if (status != MU_OK)
        goto out;
    if (memchr(text.data, '\0', text.len) || mu_utf8_valid(text.data, text.len) < text.len) {
        status = mu_fail(MU_DATA, "%s: not a text file in UTF-8", path);
        goto out;
    }
    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n';
    tok->merges = mu_calloc(lines, sizeof *tok->merges);
    for (char *line = text.data, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r')
            line[--n] = '\0';
        char *right;
        number++;
        if (n == 0 || strncmp(line, "#version", 8) == 0)
            continue;
        MU_TRY_GOTO(status, mu_tokenizer_split_merge(path, number, line, &right), out);
        MU_TRY_GOTO(status, mu_tokenizer_add_merge(tok, path, number, vocab, line, right), out);
    }
out:
    mu_buf_release(&text);
    return status;
}

mu_status_t mu_tokenizer_from_gpt2(const char *vocab_path, json_t *vocab, const char *merges_path,
                                   mu_tokenizer_t **out)
{
    static const char eod[] = "<|endoftext|>";
    mu_tokenizer_t *tok = mu_tokenizer_new();
    mu_status_t status = mu_tokenizer_read_vocab(tok, vocab_path, vocab);
    if (status == MU_OK)
        status = read_merges(tok, merges_path, vocab);
    if (status != MU_OK) {
        mu_tokenizer_free(tok);
        return status;
    }
    json_t *id = json_object_get(vocab, eod);
    if (id) {
        mu_added_t added = {.id = (int32_t)json_integer_value(id), .special = true};
        mu_tokenizer_add_added(tok, &added, eod);
    }
    status = mu_tokenizer_finish(tok);
    if (status != MU_OK) {
        mu_tokenizer_free(tok);
        return status;
    }
    *out = tok;
    return MU_OK;
}

bool mu_tokenizer_is_vocabulary(json_t *root)
{
    return json_is_object(root) && !json_is_object(json_object_get(root, "model")) &&
           json_is_integer(json_object_iter_value(json_object_iter(root)));
}
