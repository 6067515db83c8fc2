/* What the parts of the probe share: a fact with its state, and paths that a request may replace. */
#include "worker/probe/probe_internal.h"

json_t *mu_probe_state(const char *state, const char *detail)
{
    return detail ? json_pack("{s:s, s:s}", "state", state, "detail", detail)
                  : json_pack("{s:s}", "state", state);
}

const char *mu_probe_path(const json_t *ask, const char *key, const char *usual)
{
    const char *path = json_string_value(json_object_get(json_object_get(ask, "paths"), key));
    return path ? path : usual;
}
