/* A line of chat data becomes the text of its conversation. */
#include "common/log.h"
#include "dataset/prepare/reader_impl.h"

static bool may_count(const mu_chat_text_t *text)
{
    for (int i = 0; i < text->count; i++)
        if (text->trained[i])
            return true;
    return false;
}

mu_status_t mu_record_chat(mu_reader_t *r, const char *line, size_t n, mu_doc_t *doc)
{
    mu_fault_t fault = {.line = r->record_line};
    char why[MU_CHAT_WHY];
    if (!mu_chat_read(line, n, &r->chat, why, &fault.column) ||
        !mu_chat_render(r->options.chat, &r->chat, false, &r->chat_text, why)) {
        snprintf(fault.why, sizeof fault.why, "%s", why);
        return mu_record_bad(r, &fault, "");
    }
    if (!r->options.chat_all && !may_count(&r->chat_text)) {
        r->counts.unanswered++;
        return MU_OK;
    }
    if (mu_chat_holds_tokens(r->options.chat, &r->chat) && r->counts.spelled++ == 0)
        mu_warn("%s:%lld: a message spells a token of the template, and is read as that token, as "
                "Transformers does; "
                "others like it are counted",
                r->text.name, (long long)r->record_line);
    doc->text = r->chat_text.text.data;
    doc->bytes = r->chat_text.text.len;
    doc->chat = &r->chat_text;
    return MU_OK;
}
