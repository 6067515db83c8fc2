#include "worker/infer/stop.h"

#include <string.h>

/* The longest end of text[0, n) with which `stop` begins. */
static size_t begun(const char *stop, const char *text, size_t n)
{
    size_t length = strlen(stop);
    for (size_t k = n < length ? n : length; k > 0; k--)
        if (memcmp(text + n - k, stop, k) == 0)
            return k;
    return 0;
}

size_t mu_stop_visible(const mu_words_t *stops, const char *text, size_t n, bool end, bool *hit)
{
    size_t visible = n, held = 0;
    *hit = false;
    for (int i = 0; i < stops->count; i++) {
        size_t length = strlen(stops->item[i]);
        const char *found = length > 0 ? memmem(text, n, stops->item[i], length) : NULL;
        if (found && (size_t)(found - text) < visible) {
            visible = (size_t)(found - text);
            *hit = true;
        }
        size_t k = begun(stops->item[i], text, n);
        held = k > held ? k : held;
    }
    return *hit || end ? visible : n - held;
}
