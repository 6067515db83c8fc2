#include "common/words.h"
#include "common/buf.h"

#include <stdlib.h>
#include <string.h>

int mu_edits(const char *a, const char *b, int limit)
{
    enum { NAME_BYTES = 128 };
    int row[3][NAME_BYTES + 1];
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n >= NAME_BYTES || m >= NAME_BYTES || abs(n - m) >= limit)
        return limit;
    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int same = a[i - 1] == b[j - 1] || (a[i - 1] == '-' && b[j - 1] == '_') ? 0 : 1;
            int least = last[j - 1] + same;
            if (last[j] + 1 < least)
                least = last[j] + 1;
            if (now[j - 1] + 1 < least)
                least = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < least)
                least = before[j - 2] + 1;
            now[j] = least;
        }
    }
    return row[n % 3][m];
}

const char *mu_nearest_word(const char *word, const char *const *known)
{
    const char *best = NULL;
    int least = 2 + (int)strlen(word) / 3; /* farther is no likeness */
    for (; *known; known++) {
        int e = mu_edits(word, *known, least);
        if (e < least) {
            least = e;
            best = *known;
        }
    }
    return best;
}
