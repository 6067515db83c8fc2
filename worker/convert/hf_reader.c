#include "worker/convert/hf_reader.h"
#include "common/log.h"

#include <math.h>
#include <string.h>

void mu_hf_set(mu_hf_reader_t *r, mu_status_t status)
{
    if (r->status == MU_OK)
        r->status = status;
}

const json_t *mu_hf_get(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

int64_t mu_hf_count(mu_hf_reader_t *r, const char *key, int64_t otherwise)
{
    const json_t *v = mu_hf_get(r->root, key);
    if (!v && otherwise > 0)
        return otherwise;
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > INT32_MAX) {
        mu_hf_set(r, mu_fail(MU_DATA, "%s: '%s' is %s: a whole number from 1 is wanted", r->name, key,
                             v ? "out of range" : "not there"));
        return 1;
    }
    return json_integer_value(v);
}

double mu_hf_number(mu_hf_reader_t *r, const json_t *object, const char *key, double otherwise)
{
    const json_t *v = mu_hf_get(object, key);
    if (!v)
        return otherwise;
    if (!json_is_number(v) || !isfinite(json_number_value(v))) {
        mu_hf_set(r, mu_fail(MU_DATA, "%s: '%s' is no number", r->name, key));
        return otherwise;
    }
    return json_number_value(v);
}

bool mu_hf_flag(mu_hf_reader_t *r, const char *key, bool otherwise)
{
    const json_t *v = mu_hf_get(r->root, key);
    if (v && !json_is_boolean(v))
        mu_hf_set(r, mu_fail(MU_DATA, "%s: '%s' is neither true nor false", r->name, key));
    return v ? json_is_true(v) : otherwise;
}

void mu_hf_only(mu_hf_reader_t *r, const char *key, bool want)
{
    if (mu_hf_flag(r, key, want) != want)
        mu_hf_set(r,
                  mu_fail(MU_CONFIG, "%s: '%s' %s is not supported", r->name, key, want ? "false" : "true"));
}

const json_t *mu_hf_object(mu_hf_reader_t *r, const char *key)
{
    const json_t *v = mu_hf_get(r->root, key);
    if (v && !json_is_object(v)) {
        mu_hf_set(r, mu_fail(MU_DATA, "%s: '%s' is no object", r->name, key));
        return NULL;
    }
    return v;
}

const char *mu_hf_rope_type(const json_t *rope)
{
    const char *type = json_string_value(mu_hf_get(rope, "rope_type"));
    if (!type)
        type = json_string_value(mu_hf_get(rope, "type"));
    return type ? type : "default";
}

void mu_hf_common(mu_hf_reader_t *r, int64_t layers, int64_t hidden, int64_t heads, int64_t ffn,
                  int64_t positions, int64_t seq_length)
{
    mu_buf_addf(r->yaml,
                "num_layers: %lld\nhidden_size: %lld\nnum_attention_heads: %lld\nintermediate_size: %lld\n"
                "seq_length: %lld\nmax_position_embeddings: %lld\npadded_vocab_size: %lld\n",
                (long long)layers, (long long)hidden, (long long)heads, (long long)ffn, (long long)seq_length,
                (long long)positions, (long long)mu_hf_count(r, "vocab_size", 0));
    mu_buf_addf(r->yaml, "init_method: normal\ninit_method_std: %.17g\n",
                mu_hf_number(r, r->root, "initializer_range", 0.02));
}

void mu_hf_number_write(const char *name, double value, mu_buf_t *out)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    mu_buf_addf(out, "\"%s\": %s%s", name, text, strpbrk(text, ".e") ? "" : ".0");
}
