#include "dataset/prepare/inputs.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 32, LEFT_OUT_SHOWN = 20 }; /* of directories: links may form a ring */

static void add(mu_inputs_t *in, int origin, const char *path, const struct stat *st)
{
    if ((in->count & (in->count - 1)) == 0) { /* a power of two: full */
        size_t room = in->count ? (size_t)in->count * 2 : 1;
        in->paths = mu_realloc(in->paths, room * sizeof *in->paths);
        in->sizes = mu_realloc(in->sizes, room * sizeof *in->sizes);
        in->origin = mu_realloc(in->origin, room * sizeof *in->origin);
    }
    in->origin[in->count] = origin;
    in->paths[in->count] = mu_strdup(path);
    in->sizes[in->count] = st && S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
    in->total += in->sizes[in->count];
    in->sized = in->sized && st && S_ISREG(st->st_mode);
    in->count++;
}

static bool ends(const char *text, size_t n, const char *suffix)
{
    size_t m = strlen(suffix);
    return n >= m && strncasecmp(text + n - m, suffix, m) == 0;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* bytes, whatever the locale */
}

/* Files that lie beside data and are none, by the part of the name before the first dot, whole or its end. */
static bool is_companion(const char *name)
{
    static const char *const stems[] = {"readme",          "license", "licence",   "copying",
                                        "notice",          "authors", "changelog", "contributing",
                                        "code_of_conduct", "citation"};
    static const char *const whole[] = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json",
                                        "state.json",        "config.json",        "tokenizer.json",
                                        "manifest.json",     "md5sum.txt",         "sha256sum.txt"};
    static const char *const tails[] = {".yml", ".yaml", ".idx",  ".bin", ".h5",  ".pt",     ".npy",
                                        ".png", ".jpg",  ".jpeg", ".gif", ".pyc", ".sha256", ".md5"};
    size_t n = strlen(name), stem = strcspn(name, ".");
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++)
        if (strlen(stems[i]) == stem && strncasecmp(name, stems[i], stem) == 0)
            return true;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcasecmp(name, whole[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (ends(name, n, tails[i]))
            return true;
    return false;
}

static void leave_out(mu_inputs_t *in, const char *path)
{
    if (in->left_out++ < LEFT_OUT_SHOWN)
        mu_info("%s: left out: by its name it is not data. To read it, name it itself", path);
}

static mu_status_t walk(mu_inputs_t *in, int origin, const char *path, int depth)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return mu_fail(MU_NOINPUT, "%s: cannot find it: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        /* named by hand, a pipe is wanted; met in a directory, a socket or device is not */
        const char *slash = strrchr(path, '/');
        if (depth > 0 && S_ISREG(st.st_mode) && is_companion(slash ? slash + 1 : path))
            leave_out(in, path);
        else if (depth == 0 || S_ISREG(st.st_mode))
            add(in, origin, path, &st);
        return MU_OK;
    }
    if (depth >= DEPTH_MAX)
        return mu_fail(MU_NOINPUT, "%s: more than %d directories deep: do its links form a ring?", path,
                       DEPTH_MAX);
    struct dirent **entries;
    int n = scandir(path, &entries, visible, by_name);
    if (n < 0)
        return mu_fail(MU_NOINPUT, "%s: cannot list: %s", path, strerror(errno));
    mu_status_t status = MU_OK;
    for (int i = 0; i < n; i++) {
        char *child = mu_path_join(path, entries[i]->d_name);
        if (status == MU_OK)
            status = walk(in, origin, child, depth + 1);
        free(child);
        free(entries[i]);
    }
    free(entries);
    return status;
}

mu_status_t mu_inputs_find(char *const *paths, int n, mu_inputs_t *out)
{
    mu_inputs_t in = {.sized = true};
    mu_status_t status = MU_OK;
    for (int i = 0; i < n && status == MU_OK; i++) {
        int before = in.count;
        if (strcmp(paths[i], "-") == 0)
            add(&in, i, "-", NULL);
        else
            status = walk(&in, i, paths[i], 0);
        if (status == MU_OK && in.count == before)
            status = mu_fail(MU_NOINPUT, "%s: holds no file%s", paths[i],
                             in.left_out > 0 ? " that is data by its name" : "");
    }
    if (in.left_out > LEFT_OUT_SHOWN)
        mu_info("left out of directories in all: %d files that are no data by their names", in.left_out);
    if (status == MU_OK && n == 0)
        status = mu_fail(MU_NOINPUT, "no input given");
    if (status == MU_OK)
        *out = in;
    else
        mu_inputs_free(&in);
    return status;
}

void mu_inputs_free(mu_inputs_t *in)
{
    for (int i = 0; i < in->count; i++)
        free(in->paths[i]);
    free(in->paths);
    free(in->sizes);
    free(in->origin);
    *in = (mu_inputs_t){0};
}

bool mu_inputs_is_data(const char *name)
{
    const char *part = name;
    for (const char *p = name; *p; p++) {
        if (*p == '/')
            part = p + 1;
        else if (*p == '.' && p == part && p[1] != '/' && p[1] != '\0' && p[1] != '.')
            return false; /* hidden, or in a hidden directory; "." and ".." are neither */
    }
    return !is_companion(part);
}

static const char *const format_names[] = {"", "text", "jsonl", "csv", "tsv"};

const char *mu_text_format_name(mu_text_format_t format)
{
    return format_names[format];
}

bool mu_text_format_parse(const char *name, mu_text_format_t *out)
{
    for (int i = MU_FORMAT_TEXT; i <= MU_FORMAT_TSV; i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *out = (mu_text_format_t)i;
            return true;
        }
    }
    return false;
}

mu_text_format_t mu_inputs_format(const char *path)
{
    static const char *const packed[] = {".gz", ".zst", ".zstd", ".dz", ".xz", ".bz2", ".lz4"};
    static const struct {
        const char *suffix;
        mu_text_format_t format;
    } known[] = {{".jsonl", MU_FORMAT_JSONL}, {".ndjson", MU_FORMAT_JSONL}, {".json", MU_FORMAT_JSONL},
                 {".csv", MU_FORMAT_CSV},     {".tsv", MU_FORMAT_TSV},      {".tab", MU_FORMAT_TSV}};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        if (ends(path, n, packed[i])) {
            n -= strlen(packed[i]);
            break;
        }
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (ends(path, n, known[i].suffix))
            return known[i].format;
    }
    return MU_FORMAT_TEXT;
}
