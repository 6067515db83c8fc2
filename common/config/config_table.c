/* Finding keys in the table, and guessing what an unknown one was meant to be. */
#include "common/config/config_keys.h"
#include "common/words.h"

/* Keys of older files: `now` is a key that means the same, else `advice` says what to write. */
static const struct {
    const char *old, *now, *advice;
} old_keys[] = {
    {"gas", "gradient_accumulation_steps", NULL},
    {"save_interval", "checkpoint_factor", NULL},
    {"warmup_iters", NULL, "write warmup, a share of lr_decay_iters"},
    {"decay_lr_to", NULL, "write min_lr, an absolute rate"},
    {"attention_type", NULL, "write attention_config"},
    {"learning_rate", NULL, "write optimizer: {params: {lr: ...}}"},
    {"betas", NULL, "write optimizer: {params: {betas: [...]}}"},
    {"dropout", NULL, "write hidden_dropout and attention_dropout"},
    {"micro_batch_size", NULL, "write train_micro_batch_size_per_gpu"},
    {"global_batch_size", NULL, "write train_batch_size"},
    {"vocab_size", NULL, "the vocabulary is the tokenizer's; see padded_vocab_size"},
    {"fp16.bf16", NULL, "write precision: bfloat16"},
};

enum { OLD_KEYS = sizeof old_keys / sizeof *old_keys, NAME_BYTES = 128 };

int mu_key_find(const char *name)
{
    for (int i = 0; i < OLD_KEYS; i++)
        if (old_keys[i].now && mu_yaml_same_key(name, old_keys[i].old))
            name = old_keys[i].now;
    for (int i = 0; i < mu_key_count; i++)
        if (mu_yaml_same_key(name, mu_keys[i].name))
            return i;
    return -1;
}

bool mu_key_is_group(const char *name)
{
    size_t n = strlen(name);
    if (n >= NAME_BYTES)
        return false;
    for (int i = 0; i < mu_key_count; i++) {
        char head[NAME_BYTES];
        const char *key = mu_keys[i].name;
        if (strlen(key) <= n || key[n] != '.')
            continue;
        snprintf(head, sizeof head, "%.*s", (int)n, key);
        if (mu_yaml_same_key(head, name))
            return true;
    }
    return false;
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

void mu_key_suggest(const char *name, mu_buf_t *out)
{
    for (int i = 0; i < OLD_KEYS; i++) {
        if (old_keys[i].advice && mu_yaml_same_key(name, old_keys[i].old)) {
            mu_buf_addf(out, ": %s", old_keys[i].advice);
            return;
        }
    }
    const char *best = NULL, *last = last_part(name);
    int least = 2 + (int)strlen(last) / 3; /* farther is no likeness */
    for (int i = 0; i < mu_key_count; i++) {
        const char *key = mu_keys[i].name;
        int whole = mu_edits(name, key, least);
        /* right name, wrong group */
        int part = mu_edits(last, last_part(key), least) + 1;
        int e = whole < part ? whole : part;
        if (e < least) {
            least = e;
            best = key;
        }
    }
    if (best)
        mu_buf_addf(out, ": did you mean %s?", best);
    else
        mu_buf_adds(out, ": `muster config --keys` lists all keys");
}

const char *mu_key_type_name(mu_key_type_t type)
{
    static const char *const names[] = {
        [MU_KEY_BOOL] = "true or false", [MU_KEY_INT] = "whole number",    [MU_KEY_FLOAT] = "number",
        [MU_KEY_SECONDS] = "seconds",    [MU_KEY_TEXT] = "text",           [MU_KEY_ENUM] = "choice",
        [MU_KEY_INTS] = "whole numbers", [MU_KEY_TEXTS] = "list of texts", [MU_KEY_BETAS] = "two numbers",
        [MU_KEY_ATTENTION] = "list",     [MU_KEY_ANY] = "anything",        [MU_KEY_REALS] = "list of numbers",
    };
    return names[type];
}

const char *mu_key_class_name(mu_key_class_t class)
{
    static const char *const names[] = {
        [MU_KEY_HONOURED] = "honoured",
        [MU_KEY_INPUT] = "honoured",
        [MU_KEY_ACCEPTED] = "no effect",
        [MU_KEY_UNSUPPORTED] = "default only",
    };
    return names[class];
}
