/* A line of chat data: read, rendered by each template, and what must hold of the result. */
#include "dataset/chat/chat_template.h"
#include "dataset/tokenizer/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static mu_tokenizer_t *tokenizer(void)
{
    static mu_tokenizer_t *tok;
    char *const specials[] = {"<|im_start|>",        "<|im_end|>",        "<s>",       "<|begin_of_text|>",
                              "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
    if (!tok) {
        FUZZ_CHECK(mu_tokenizer_load(MU_SOURCE_DIR "/tests/data/tokenizer-small.json", &tok) == MU_OK);
        FUZZ_CHECK(mu_tokenizer_add_specials(tok, specials, 7) == MU_OK);
    }
    return tok;
}

static void check(const mu_chat_t *chat, const mu_chat_text_t *text)
{
    size_t before = 0;
    FUZZ_CHECK(mu_utf8_valid(text->text.data, text->text.len) == text->text.len);
    FUZZ_CHECK(text->count <= chat->count);
    for (int i = 0; i < text->count; i++) {
        FUZZ_CHECK(text->turns[i].from == before && text->turns[i].to <= text->text.len);
        FUZZ_CHECK(text->answers[i].from >= before && text->answers[i].from < text->answers[i].to);
        FUZZ_CHECK(text->answers[i].to <= text->turns[i].to);
        before = text->turns[i].to;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static mu_chat_template_t *templates[16];
    mu_chat_t chat = MU_CHAT_INIT;
    mu_chat_text_t text = MU_CHAT_TEXT_INIT;
    char why[MU_CHAT_WHY];
    size_t column;
    fuzz_begin();
    for (int i = 0; mu_chat_template_names()[i] && !templates[i]; i++)
        FUZZ_CHECK(mu_chat_template_find(&(mu_chat_choice_t){.name = mu_chat_template_names()[i]}, NULL,
                                         tokenizer(), &templates[i]) == MU_OK);
    mu_buf_t line = MU_BUF_INIT; /* the reader gives valid UTF-8 only */
    mu_buf_reserve(&line, 0);
    mu_utf8_repair((const char *)data, n, &line);
    if (mu_chat_read(line.data, line.len, &chat, why, &column)) {
        size_t end = 0;
        FUZZ_CHECK(chat.count > 0);
        for (int i = 0; i < chat.count; i++) {
            FUZZ_CHECK(chat.message[i].at == end && chat.message[i].role < MU_CHAT_ROLES);
            end += chat.message[i].n;
        }
        FUZZ_CHECK(end == chat.text.len && mu_utf8_valid(chat.text.data, end) == end);
        for (int i = 0; templates[i]; i++)
            if (mu_chat_render(templates[i], &chat, i % 2 == 0, &text, why))
                check(&chat, &text);
    } else {
        FUZZ_CHECK(column <= line.len && *why);
    }
    mu_chat_text_release(&text);
    mu_chat_release(&chat);
    mu_buf_release(&line);
    return 0;
}
