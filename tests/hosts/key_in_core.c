/*
 * How often a key is in the memory of a process, or in a core file.
 *
 *     key_in_core PID HEX      prints two numbers: in what a core file of the process would hold, and in what is left
 *                              out of one (MADV_DONTDUMP: `dd` in /proc/PID/smaps)
 *     key_in_core FILE HEX     prints one number
 *
 * A key counts as its bytes and as its hex digits.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY = 32, CHUNK = 1 << 20, OVERLAP = 2 * KEY };

typedef struct search {
    unsigned char raw[KEY];
    const char *hex;
    unsigned char *room; /* CHUNK bytes */
} search_t;

static int fail(const char *what)
{
    fprintf(stderr, "key_in_core: %s: %s\n", what, strerror(errno));
    return 1;
}

static long count(const unsigned char *text, size_t n, const void *word, size_t length)
{
    long times = 0;
    for (const unsigned char *at = text; (at = memmem(at, n - (size_t)(at - text), word, length)); at++)
        times++;
    return times;
}

/* In the bytes from..to of a file; what cannot be read is passed over. A hit on the seam of two chunks may count
 * twice. */
static long count_in(search_t *s, int fd, unsigned long from, unsigned long to)
{
    long times = 0;
    while (from < to) {
        size_t want = to - from < CHUNK ? to - from : CHUNK;
        ssize_t n = pread(fd, s->room, want, (off_t)from);
        if (n <= 0)
            break;
        times += count(s->room, (size_t)n, s->raw, KEY) + count(s->room, (size_t)n, s->hex, 2 * KEY);
        from += (size_t)n > OVERLAP && (size_t)n == CHUNK ? (size_t)n - OVERLAP : (size_t)n;
    }
    return times;
}

static int look_into_process(search_t *s, const char *pid)
{
    char path[64], line[512], perms[5] = "";
    unsigned long from = 0, to = 0;
    long dumped = 0, left_out = 0;
    snprintf(path, sizeof path, "/proc/%.20s/smaps", pid);
    FILE *maps = fopen(path, "r");
    snprintf(path, sizeof path, "/proc/%.20s/mem", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!maps || fd < 0)
        return fail(path);
    while (fgets(line, sizeof line, maps)) {
        unsigned long begin, end; /* "Anonymous:" begins with a digit, too */
        char its[5];
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, its) == 3) {
            from = begin;
            to = end;
            memcpy(perms, its, sizeof perms);
        }
        if (strncmp(line, "VmFlags:", 8) != 0 || perms[0] != 'r')
            continue;
        bool out = strstr(line, " dd") != NULL;
        if (!out)
            dumped += count_in(s, fd, from, to);
        else if (to - from <= CHUNK) /* a sanitizer's shadow is terabytes */
            left_out += count_in(s, fd, from, to);
    }
    fclose(maps);
    close(fd);
    printf("%ld %ld\n", dumped, left_out);
    return 0;
}

static int look_into_file(search_t *s, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail(path);
    printf("%ld\n", count_in(s, fd, 0, (unsigned long)st.st_size));
    close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    search_t s = {.room = malloc(CHUNK)};
    if (argc != 3 || strlen(argv[2]) != 2 * KEY || !s.room)
        return 2;
    s.hex = argv[2];
    for (int i = 0; i < KEY; i++) {
        unsigned byte;
        if (sscanf(s.hex + 2 * i, "%2x", &byte) != 1)
            return 2;
        s.raw[i] = (unsigned char)byte;
    }
    bool is_pid = argv[1][strspn(argv[1], "0123456789")] == '\0';
    int code = is_pid ? look_into_process(&s, argv[1]) : look_into_file(&s, argv[1]);
    free(s.room);
    return code;
}
