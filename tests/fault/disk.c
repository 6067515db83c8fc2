#include "tests/fault/disk.h"
#include "common/file.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME = 128, NAMES = 64, CHANGES = 512 };

typedef struct node node_t;

typedef struct name {
    char text[NAME];
    node_t *node;
} name_t;

typedef struct names {
    name_t item[NAMES];
    int count;
} names_t;

/* Since the last sync. Of a directory: link (node), rename (second), unlink; of a file: write (bytes), size. */
typedef struct change {
    char kind; /* l r u w t */
    char first[NAME], second[NAME];
    node_t *node;
    uint64_t at;
    mu_buf_t bytes;
} change_t;

struct node {
    bool dir;
    names_t now, safe; /* of a directory: as the program sees it; as synced */
    mu_buf_t bytes;    /* of a file: as synced */
    change_t *change;  /* [CHANGES] */
    int changes;
    node_t *next; /* all nodes, to free them */
};

struct disk {
    node_t *root, *all;
    char *base; /* the directory that paths begin with */
    char path[PATH_MAX], second[PATH_MAX];
};

static void give_up(const char *why, const char *what)
{
    fprintf(stderr, "disk: %s: %s\n", why, what);
    abort();
}

static node_t *new_node(disk_t *disk, bool dir)
{
    node_t *node = mu_calloc(1, sizeof *node);
    node->dir = dir;
    node->change = mu_calloc(CHANGES, sizeof *node->change);
    node->next = disk->all;
    disk->all = node;
    return node;
}

/* ---- names ---- */

static int find(const names_t *names, const char *text)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->item[i].text, text) == 0)
            return i;
    return -1;
}

static void drop(names_t *names, const char *text)
{
    int i = find(names, text);
    if (i >= 0)
        names->item[i] = names->item[--names->count];
}

static void put(names_t *names, const char *text, node_t *node)
{
    drop(names, text);
    if (names->count == NAMES || strlen(text) >= NAME)
        give_up("too many names", text);
    snprintf(names->item[names->count].text, NAME, "%s", text);
    names->item[names->count++].node = node;
}

static void change_names(names_t *names, const change_t *c)
{
    if (c->kind == 'l') {
        put(names, c->first, c->node);
    } else if (c->kind == 'u') {
        drop(names, c->first);
    } else {
        int i = find(names, c->first);
        node_t *node = i >= 0 ? names->item[i].node : NULL;
        drop(names, c->first);
        if (node)
            put(names, c->second, node);
    }
}

static change_t *note(node_t *node, char kind)
{
    if (node->changes == CHANGES)
        give_up("too many changes without a sync", "");
    change_t *c = &node->change[node->changes++];
    *c = (change_t){.kind = kind, .bytes = MU_BUF_INIT};
    return c;
}

static void note_names(node_t *dir, char kind, const char *first, const char *second, node_t *node)
{
    change_t *c = note(dir, kind);
    snprintf(c->first, NAME, "%.*s", NAME - 1, first);
    snprintf(c->second, NAME, "%.*s", NAME - 1, second);
    c->node = node;
    change_names(&dir->now, c);
}

/* ---- files ---- */

static void set_size(mu_buf_t *bytes, size_t size)
{
    if (size > bytes->len) {
        size_t more = size - bytes->len;
        mu_buf_reserve(bytes, more);
        memset(bytes->data + bytes->len, 0, more);
    }
    bytes->len = size;
}

static void change_bytes(mu_buf_t *bytes, const change_t *c)
{
    if (c->kind == 't') {
        set_size(bytes, (size_t)c->at);
        return;
    }
    if (bytes->len < c->at + c->bytes.len)
        set_size(bytes, (size_t)c->at + c->bytes.len);
    memcpy(bytes->data + c->at, c->bytes.data, c->bytes.len);
}

static void forget_changes(node_t *node)
{
    for (int i = 0; i < node->changes; i++)
        mu_buf_release(&node->change[i].bytes);
    node->changes = 0;
}

static void sync_node(node_t *node)
{
    for (int i = 0; i < node->changes; i++)
        if (node->dir)
            change_names(&node->safe, &node->change[i]);
        else
            change_bytes(&node->bytes, &node->change[i]);
    forget_changes(node);
}

/* ---- what a program did ---- */

/* The directory of a path below the root as the program sees it, and the last name; the root itself has none. */
static node_t *parent_of(disk_t *disk, char *path, char **last)
{
    node_t *node = disk->root;
    char *part = path, *slash;
    while ((slash = strchr(part, '/'))) {
        *slash = '\0';
        int i = find(&node->now, part);
        if (i < 0)
            give_up("no such directory", path);
        node = node->now.item[i].node;
        *slash = '/';
        part = slash + 1;
    }
    *last = part;
    return node;
}

static node_t *node_of(disk_t *disk, char *path)
{
    char *last;
    if (!*path)
        return disk->root;
    node_t *dir = parent_of(disk, path, &last);
    int i = find(&dir->now, last);
    return i < 0 ? NULL : dir->now.item[i].node;
}

static void play_create(disk_t *disk, char *path, bool cut)
{
    char *last;
    node_t *dir = parent_of(disk, path, &last), *node = node_of(disk, path);
    if (!node)
        note_names(dir, 'l', last, "", new_node(disk, false));
    else if (cut)
        note(node, 't')->at = 0;
}

static void play_rename(disk_t *disk, char *path, char *second)
{
    char *from, *to;
    node_t *a = parent_of(disk, path, &from), *b = parent_of(disk, second, &to);
    if (a != b)
        give_up("a rename between directories is not known here", second);
    note_names(a, 'r', from, to, NULL);
}

static const char *below(const disk_t *disk, const char *text, size_t n, char *out)
{
    size_t base = strlen(disk->base);
    if (n < base || strncmp(text, disk->base, base) != 0 || n - base >= PATH_MAX)
        give_up("a path elsewhere", text);
    const char *from = text + base;
    size_t left = n - base;
    if (left > 0 && *from == '/')
        from++, left--;
    memcpy(out, from, left);
    out[left] = '\0';
    return out;
}

bool disk_play(disk_t *disk, const mu_buf_t *record, size_t *at, char *kind, const char **path,
               const char **second)
{
    size_t lengths[2], n;
    long long number;
    char *last;
    if (*at >= record->len)
        return false;
    const char *line = record->data + *at, *end = memchr(line, '\n', record->len - *at);
    if (!end || sscanf(line, "%c %zu %zu %lld %zu", kind, &lengths[0], &lengths[1], &number, &n) != 5)
        give_up("a torn record", line);
    const char *text = end + 1, *data = text + lengths[0] + lengths[1];
    *at = (size_t)(data - record->data) + n;
    *path = below(disk, text, lengths[0], disk->path);
    *second = lengths[1] > 0 ? below(disk, text + lengths[0], lengths[1], disk->second) : "";
    node_t *node = *kind == 'c' || *kind == 'm' || *kind == 'r' ? NULL : node_of(disk, disk->path);
    if (*kind == 'c') {
        play_create(disk, disk->path, number != 0);
    } else if (*kind == 'm') {
        node_t *dir = parent_of(disk, disk->path, &last);
        note_names(dir, 'l', last, "", new_node(disk, true));
    } else if (*kind == 'r') {
        play_rename(disk, disk->path, disk->second);
    } else if (*kind == 'u') {
        node_t *dir = parent_of(disk, disk->path, &last);
        note_names(dir, 'u', last, "", NULL);
    } else if (!node) {
        give_up("no such file", disk->path);
    } else if (*kind == 's') {
        sync_node(node);
    } else {
        change_t *c = note(node, *kind);
        c->at = (uint64_t)number;
        mu_buf_add(&c->bytes, data, n);
    }
    return true;
}

/* ---- a state ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* How many of a directory's changes are there, from the oldest on. */
static int kept_names(const node_t *node, const disk_how_t *how, uint64_t key)
{
    switch (how->keep) {
    case DISK_ALL:
    case DISK_NAMES:
        return node->changes;
    case DISK_ANY:
        return (int)(mix(how->seed + key) % (uint64_t)(node->changes + 1));
    default:
        return 0;
    }
}

static bool keeps_bytes(const change_t *c, const disk_how_t *how, uint64_t key)
{
    switch (how->keep) {
    case DISK_ALL:
        return true;
    case DISK_NAMES:
        return c->kind == 't';
    case DISK_DATA:
        return c->kind == 'w';
    case DISK_ANY:
        return mix(how->seed + key) & 1;
    default:
        return false;
    }
}

static uint64_t digest(uint64_t sum, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return mix(sum);
}

static uint64_t text_key(uint64_t key, const char *text)
{
    return digest(key, text, strlen(text));
}

/* path NULL: only the digest is made. */
static uint64_t make_file(const node_t *node, const char *path, const disk_how_t *how, uint64_t key)
{
    mu_buf_t bytes = MU_BUF_INIT;
    mu_buf_add(&bytes, node->bytes.data ? node->bytes.data : "", node->bytes.len);
    for (int i = 0; i < node->changes; i++)
        if (keeps_bytes(&node->change[i], how, key + (uint64_t)i))
            change_bytes(&bytes, &node->change[i]);
    if (path) {
        FILE *file = fopen(path, "we");
        if (!file || fwrite(bytes.data, 1, bytes.len, file) != bytes.len || fclose(file) != 0)
            give_up("cannot write", path);
    }
    uint64_t sum = digest(key, bytes.data, bytes.len);
    mu_buf_release(&bytes);
    return sum;
}

static uint64_t make_dir(const node_t *node, const char *path, const disk_how_t *how, uint64_t key)
{
    names_t names = node->safe;
    uint64_t sum = key;
    for (int i = 0, n = kept_names(node, how, key); i < n; i++)
        change_names(&names, &node->change[i]);
    for (int i = 0; i < names.count; i++) {
        const name_t *name = &names.item[i];
        char *below = path ? mu_path_join(path, name->text) : NULL;
        uint64_t its = text_key(key, name->text);
        if (below && name->node->dir && mkdir(below, 0700) != 0)
            give_up("cannot make", below);
        sum +=
            name->node->dir ? make_dir(name->node, below, how, its) : make_file(name->node, below, how, its);
        free(below);
    }
    return mix(sum);
}

uint64_t disk_state(disk_t *disk, const disk_how_t *how)
{
    return make_dir(disk->root, NULL, how, 1);
}

void disk_make(disk_t *disk, const char *dir, const disk_how_t *how)
{
    if (mu_remove_tree(dir) != MU_OK || mkdir(dir, 0700) != 0)
        give_up("cannot make", dir);
    make_dir(disk->root, dir, how, 1);
}

/* ---- from a real one ---- */

static void read_dir(disk_t *disk, node_t *node, const char *path)
{
    DIR *stream = opendir(path);
    if (!stream)
        give_up("cannot read", path);
    for (struct dirent *e; (e = readdir(stream));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *below = mu_path_join(path, e->d_name);
        node_t *child = new_node(disk, mu_is_dir(below));
        if (child->dir)
            read_dir(disk, child, below);
        else if (mu_file_read(below, 1 << 26, &child->bytes) != MU_OK)
            give_up("cannot read", below);
        put(&node->now, e->d_name, child);
        free(below);
    }
    closedir(stream);
    node->safe = node->now;
}

disk_t *disk_read(const char *dir)
{
    disk_t *disk = mu_calloc(1, sizeof *disk);
    disk->base = mu_strdup(dir);
    disk->root = new_node(disk, true);
    read_dir(disk, disk->root, dir);
    return disk;
}

void disk_free(disk_t *disk)
{
    for (node_t *node = disk->all, *next; node; node = next) {
        next = node->next;
        forget_changes(node);
        free(node->change);
        mu_buf_release(&node->bytes);
        free(node);
    }
    free(disk->base);
    free(disk);
}
