/*
 * JSON of foreign files. jansson takes up to 44 times the bytes of a text such as "[[],[],...]": a file of 90 MB would
 * unfold to 4 GiB. So the values are counted before anything is parsed, and each kind of file has a limit that follows
 * from what such a file can need.
 */
#ifndef MU_COMMON_JSON_H
#define MU_COMMON_JSON_H

#include <jansson.h>
#include <stddef.h>

/* Values of all depths, keys included; a value takes at most about 90 bytes. */
enum {
    MU_JSON_TOKENIZER = 4 << 20,  /* 256 k tokens, 512 k merges written as pairs */
    MU_JSON_HEADER = 2 << 20,     /* safetensors: 100 k tensors */
    MU_JSON_CONFIG = 1 << 20,     /* config.json, an index of shards */
    MU_JSON_DATA = 4 << 20,       /* a data set's manifest */
    MU_JSON_CHAT = 1 << 20,       /* one conversation: 100 k messages */
    MU_JSON_CHECKPOINT = 16 << 20 /* a checkpoint's manifest: 600 tensors in 1,000 slices each */
};

/* As json_loadb() with duplicate keys refused. NULL with error->text for more than `most` values as well. */
json_t *mu_json_parse(const char *text, size_t n, size_t most, json_error_t *error);
/* The same with every number as a real one, for files that hold integers beyond 64 bits: Transformers writes
 * "model_max_length": 1000000000000000019884624838656. */
json_t *mu_json_parse_real(const char *text, size_t n, size_t most, json_error_t *error);
/* The same with NUL characters in strings, which a model may have written: json_string_length() is then their
 * length. */
json_t *mu_json_parse_nul(const char *text, size_t n, size_t most, json_error_t *error);

#endif
