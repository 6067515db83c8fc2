/*
 * Inside of the configuration: the table of keys, and what a mu_config_t points to. Only common/config/config*.c
 * and its tests include this.
 *
 * The table drives everything: parsing and type checks, defaults, `muster config --keys`, origins, YAML and
 * JSON output, the digest, and the list in docs/config.md. A key of a group has a dotted name
 * ("optimizer.params.lr"); the keys of a group stand together.
 */
#ifndef MU_COMMON_CONFIG_KEYS_H
#define MU_COMMON_CONFIG_KEYS_H

#include "common/config/config.h"
#include "common/config/yaml.h"
#include <stddef.h>

typedef enum mu_key_type {
    MU_KEY_BOOL,      /* bool */
    MU_KEY_INT,       /* int64_t */
    MU_KEY_FLOAT,     /* double */
    MU_KEY_SECONDS,   /* double; "auto" is 0 */
    MU_KEY_TEXT,      /* char *, or one of `choices` */
    MU_KEY_ENUM,      /* an enum whose values are the places in `choices`; -1 for null */
    MU_KEY_INTS,      /* extra_save_iters and its count */
    MU_KEY_TEXTS,     /* char **, NULL-terminated */
    MU_KEY_REALS,     /* mu_reals_t */
    MU_KEY_BETAS,     /* beta1, beta2 */
    MU_KEY_ATTENTION, /* checked, not stored: every layer is full causal attention */
    MU_KEY_ANY        /* not looked into */
} mu_key_type_t;

typedef enum mu_key_class {
    MU_KEY_HONOURED,
    MU_KEY_INPUT,      /* honoured; what it says is written back through another key */
    MU_KEY_ACCEPTED,   /* has no effect here, and that is said once */
    MU_KEY_UNSUPPORTED /* only its default is taken */
} mu_key_class_t;

typedef struct mu_key {
    const char *name;
    mu_key_type_t type;
    mu_key_class_t class;
    const char *preset;  /* the default as YAML; "null": none */
    const char *choices; /* "a|b/synonym|c" in any case, or NULL */
    double least, most;  /* INT, FLOAT, SECONDS */
    size_t offset;       /* into mu_config_source_t; MU_KEY_NOWHERE when not stored */
    const char *doc;     /* what it does; UNSUPPORTED: what to do instead */
} mu_key_t;

#define MU_KEY_NOWHERE ((size_t)-1)

extern const mu_key_t mu_keys[];
extern const int mu_key_count;

/* The row of a key in either spelling, old names included; -1 when there is none. */
int mu_key_find(const char *name);
/* Whether some keys begin with "NAME.". */
bool mu_key_is_group(const char *name);
/* For an unknown key: a sentence that says what to write instead ("did you mean ...?"), or "". */
void mu_key_suggest(const char *name, mu_buf_t *out);
const char *mu_key_type_name(mu_key_type_t type);
const char *mu_key_class_name(mu_key_class_t class);

/* What was written for one key. */
typedef struct mu_written {
    char *where; /* "file:line:column", "command line", "environment NAME"; NULL: not written */
    bool given;  /* written by the user, and not null */
} mu_written_t;

enum { MU_FACT_TEXTS = 7 }; /* strings of mu_config_facts_t */

struct mu_config_source {
    mu_config_t config; /* first: what the caller holds */

    /* keys whose effect is another field of the config */
    bool gpt_j_residual, gpt_j_tied, no_weight_tying, bias_gelu_fusion;
    bool bias_in_norms, bias_in_attention, bias_in_mlp, qkv_bias;
    double layernorm_epsilon, rms_norm_epsilon;
    int64_t intermediate_size; /* as written; derived: what gives the model's width when it is read back */
    int64_t mlp_multiple_of;
    bool fp16_enabled, bf16_enabled;
    int fp16_type, activation, optimizer, checkpoint_scale;
    mu_precision_t precision; /* as written */
    double rotary_pct, expansion_factor;
    int64_t vocab_parallel_size;
    int64_t train_batch_size, micro_batch, accumulation; /* as written; 0: not */

    mu_written_t *written; /* one for each row of the table */
    mu_buf_t unused;       /* names of the keys without effect that were given */
    int unused_count;
    mu_buf_t load_notes, resolve_notes; /* lines */
    char *notes, *missing;              /* what mu_config_notes() and mu_config_missing() returned last */
    const mu_config_t *base;            /* of a settled config: what it shares its strings with; else NULL */
    char *own[MU_FACT_TEXTS];           /* of a settled config: the strings that it does not share */
};
typedef struct mu_config_source mu_config_source_t;

/* One value, checked for type and range and stored; `where` begins the messages. Frees what was there. */
mu_status_t mu_key_store(mu_config_source_t *source, const mu_key_t *key, const mu_yaml_t *node,
                         const char *where);
/* Whether an unsupported key's value changes nothing. Errors: MU_CONFIG when it has the wrong type. */
mu_status_t mu_key_is_preset(const mu_key_t *key, const mu_yaml_t *node, const char *where, bool *out);
/* Checks type and range without storing. */
mu_status_t mu_key_check(const mu_key_t *key, const mu_yaml_t *node, const char *where);
void mu_key_store_preset(mu_config_source_t *source, const mu_key_t *key);
/* The stored value as JSON, which is YAML too: null, true, 12, 1.0e-05, "text", [1, 2]. */
void mu_key_print(const mu_config_source_t *source, const mu_key_t *key, mu_buf_t *out);
void mu_key_release(mu_config_source_t *source, const mu_key_t *key);
/* A string in quotes, as JSON and YAML 1.1 both read it. */
void mu_key_quote(const char *text, mu_buf_t *out);
/* The value as it was written, cut to a line, for messages. */
void mu_key_show(const mu_yaml_t *node, mu_buf_t *out);

/* Derives the fields that several keys decide together, and checks what the keys say about each other.
 * attention: the node of attention_config, or NULL. */
mu_status_t mu_config_derive(mu_config_source_t *source, const mu_yaml_t *attention);

/* Of those, the model's. */
mu_status_t mu_config_derive_model(mu_config_source_t *source);

/* Of those, its adapters. */
mu_status_t mu_config_derive_lora(mu_config_source_t *source);

/* What muster.no_decay and muster.lr_scale name, after both. */
mu_status_t mu_config_check_groups(const mu_config_source_t *source);

/* "file:line:column" of a key, or "default": for messages. */
const char *mu_config_where(const mu_config_source_t *source, const char *key);

#endif
