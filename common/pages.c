#include "common/pages.h"
#include "common/file.h"

#include <stdlib.h>
#include <string.h>

enum { ABOVE = 4 }; /* folders above a built program that are looked at for its source tree */

static bool add_if_there(const char *dir, const char *page, mu_buf_t *out)
{
    char *path = mu_path_join(dir, page), *real = realpath(path, NULL);
    bool there = real != NULL;
    if (there)
        mu_buf_adds(out, real);
    free(real);
    free(path);
    return there;
}

void mu_page_add(const char *page, mu_buf_t *out)
{
    char *program = realpath("/proc/self/exe", NULL);
    char *dir = program ? mu_path_parent(program) : mu_strdup(".");
    char *docs = mu_path_join(dir, MU_DOC_DIR);
    bool there = program && add_if_there(docs, page, out);
    for (int i = 0; program && !there && i < ABOVE; i++) {
        char *above = mu_path_parent(dir);
        free(dir);
        dir = above;
        there = add_if_there(dir, page, out);
    }
    if (!there)
        mu_buf_adds(out, page);
    free(docs);
    free(dir);
    free(program);
}

/* The length of the page's name that `text` begins with; 0: none. */
static size_t name_at(const char *text)
{
    static const char head[] = "docs/", tail[] = ".md";
    size_t n = strlen(head);
    if (strncmp(text, head, n) != 0)
        return 0;
    n += strspn(text + n, "abcdefghijklmnopqrstuvwxyz-");
    return strncmp(text + n, tail, strlen(tail)) == 0 ? n + strlen(tail) : 0;
}

void mu_pages_expand(const char *text, mu_buf_t *out)
{
    while (*text) {
        size_t n = name_at(text);
        char *page = n > 0 ? mu_format("%.*s", (int)n, text) : NULL;
        if (page)
            mu_page_add(page, out);
        else
            mu_buf_addc(out, *text);
        free(page);
        text += n > 0 ? n : 1;
    }
}

bool mu_pages_named(const char *text)
{
    for (; *text; text++)
        if (name_at(text) > 0)
            return true;
    return false;
}
