#include "dataset/chat/chat_rules.h"
#include "dataset/chat/chat_template.h"

#include <string.h>

enum { CHATML, LLAMA3, MISTRAL, MISTRAL_V01, ZEPHYR, PLAIN, RULES };

#define LLAMA3_ROLE(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

static const mu_chat_rules_t rules[RULES] = {
    [CHATML] = {.name = "chatml",
                .begin = "",
                .before = {"<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"},
                .after = {"<|im_end|>\n", "<|im_end|>\n", "<|im_end|>\n"},
                .stop = "<|im_end|>",
                .prompt = "<|im_start|>assistant\n",
                .tokens = {"<|im_start|>", "<|im_end|>"}},
    [LLAMA3] = {.name = "llama3",
                .bos = "<|begin_of_text|>",
                .begin = MU_CHAT_BOS,
                .before = {LLAMA3_ROLE("system"), LLAMA3_ROLE("user"), LLAMA3_ROLE("assistant")},
                .after = {"<|eot_id|>", "<|eot_id|>", "<|eot_id|>"},
                .stop = "<|eot_id|>",
                .prompt = LLAMA3_ROLE("assistant"),
                .tokens = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                .trim = true},
    [MISTRAL] = {.name = "mistral",
                 .bos = "<s>",
                 .begin = MU_CHAT_BOS,
                 .before = {NULL, "[INST] ", ""},
                 .after = {NULL, " [/INST]", MU_CHAT_EOS},
                 .stop = MU_CHAT_EOS,
                 .prompt = "",
                 .alternates = true},
    [MISTRAL_V01] = {.name = "mistral-v0.1",
                     .bos = "<s>",
                     .begin = MU_CHAT_BOS,
                     .before = {NULL, "[INST] ", ""},
                     .after = {NULL, " [/INST]", MU_CHAT_EOS " "},
                     .stop = MU_CHAT_EOS,
                     .prompt = "",
                     .alternates = true},
    [ZEPHYR] = {.name = "zephyr",
                .begin = "",
                .before = {"<|system|>\n", "<|user|>\n", "<|assistant|>\n"},
                .after = {MU_CHAT_EOS "\n", MU_CHAT_EOS "\n", MU_CHAT_EOS "\n"},
                .stop = MU_CHAT_EOS,
                .prompt = "<|assistant|>\n"},
    [PLAIN] = {.name = "plain",
               .begin = "",
               .before = {"", "User: ", "Assistant: "},
               .after = {"\n", "\n", MU_CHAT_EOS},
               .stop = MU_CHAT_EOS,
               .prompt = ""},
};

/* Jinja texts by the digest of their bytes without white space at the end (xxhsum -H2). */
static const struct {
    const char *digest;
    int rules;
    const char *system;
} known[] = {
    {"577a7fce73f72e1ee2be9fd6966bb5eb", CHATML, NULL},
    {"f0a6a8278439fdb056191e205a440263", CHATML, NULL},
    {"5e2c14b656a8e5628dc1c6775f9ced80", CHATML, "You are a helpful assistant"},
    {"68c860e7356f7ab320f20c2b5139eaee", CHATML, "You are a helpful assistant"},
    {"7c4c17cbc95b1d56c79034a9d5f0ae58", CHATML, "You are a helpful assistant."},
    {"e580c2da83415028d5d943bd0bd9082f", CHATML, "You are a helpful assistant."},
    {"f0323af61a5d6e2383059ddcb62b07a0", CHATML,
     "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {"98f63cc3d421d28f99ab995e9629dacd", CHATML,
     "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {"11cc8d79e9815d5c866fc8fa50da12fe", LLAMA3, NULL},
    {"09facc0e4aa943189799ad6e2dea0594", LLAMA3, NULL},
    {"f395fc5daa794129a5d004210ebce758", MISTRAL, NULL},
    {"70bf874ad98f31f4b7f52373b11c60d7", MISTRAL_V01, NULL},
    {"5c929235d1675dbfd9fe74edcb57aa82", ZEPHYR, NULL},
    {"5ae4edc1a6c08aa61db34e9fc60441d8", ZEPHYR, NULL},
};

const mu_chat_rules_t *mu_chat_rules_named(const char *name)
{
    for (int i = 0; i < RULES; i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    return NULL;
}

const mu_chat_rules_t *mu_chat_rules_known(const char *jinja, const char **system)
{
    char digest[MU_DIGEST_HEX];
    size_t n = strlen(jinja);
    while (n > 0 && strchr(" \t\r\n", jinja[n - 1]))
        n--;
    mu_digest_bytes(jinja, n, digest);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].digest, digest) == 0) {
            *system = known[i].system;
            return &rules[known[i].rules];
        }
    return NULL;
}

const char *const *mu_chat_template_names(void)
{
    static const char *names[RULES + 1];
    for (int i = 0; i < RULES; i++)
        names[i] = rules[i].name;
    return names;
}
