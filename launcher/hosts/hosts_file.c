/* --hosts and hostfiles: Open MPI's, DeepSpeed's and the MPI operator's forms in one reader. */
#include "launcher/hosts/hosts_build.h"
#include "common/words.h"
#include "common/ready_text.h"
#include "common/buf.h"
#include "common/config/config.h"

mu_status_t mu_hosts_parse_list(const char *text, mu_hosts_t **out)
{
    mu_hosts_build_t build;
    mu_status_t status = MU_OK;
    const char *word = text;
    mu_hosts_build_begin(&build, "--hosts", MU_USAGE);
    while (*text && status == MU_OK) {
        size_t n = strcspn(word, ",");
        mu_origin_t place = {1, (int)(word - text) + 1};
        mu_host_t host = {0};
        status = mu_hosts_word(&build, place, word, n, &host);
        if (status == MU_OK)
            status = mu_hosts_build_add(&build, &host, place);
        mu_host_release(&host);
        if (word[n] == '\0')
            break;
        word += n + 1;
    }
    return mu_hosts_build_end(&build, status, out);
}

typedef struct line {
    const char *begin, *p, *end; /* without the comment and the line's end */
    int number;
} line_t;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static mu_origin_t place_of(const line_t *line, const char *p)
{
    return (mu_origin_t){line->number, (int)(p - line->begin) + 1};
}

static void skip_blanks(line_t *line)
{
    while (line->p < line->end && is_blank(*line->p))
        line->p++;
}

/* The next run of bytes without blanks and '='. */
static size_t next_word(line_t *line, const char **word)
{
    *word = line->p;
    while (line->p < line->end && !is_blank(*line->p) && *line->p != '=')
        line->p++;
    return (size_t)(line->p - *word);
}

static bool is_word(const char *word, size_t n, const char *text)
{
    return strlen(text) == n && memcmp(word, text, n) == 0;
}

static mu_status_t bad_value(const mu_hosts_build_t *build, const line_t *line, const char *value, size_t n,
                             const char *wanted)
{
    mu_buf_t shown = MU_BUF_INIT;
    mu_text_escape(value, n, 80, &shown);
    mu_status_t status =
        mu_hosts_build_fail(build, place_of(line, value), "\"%s\" is not %s", shown.data, wanted);
    mu_buf_release(&shown);
    return status;
}

static mu_status_t set_number(const mu_hosts_build_t *build, const line_t *line, const char *value, size_t n,
                              int most, const char *wanted, int *field)
{
    int number;
    if (!mu_hosts_number(value, n, most, &number))
        return bad_value(build, line, value, n, wanted);
    if (*field != 0)
        return bad_value(build, line, value, n, "wanted here: the line has such a value already");
    *field = number;
    return MU_OK;
}

/* Words of Open MPI's hostfiles (orte/util/hostfile), of MPICH's (Hydra's host files) and of our own. */
static const char *const known_keys[] = {"slots",
                                         "cpu",
                                         "count",
                                         "port",
                                         "user",
                                         "max_slots",
                                         "max-slots",
                                         "slots_max",
                                         "slots-max",
                                         "cpus_max",
                                         "cpus-max",
                                         "boards",
                                         "sockets_per_board",
                                         "cores_per_socket",
                                         "username",
                                         "user-name",
                                         "user_name",
                                         "binding",
                                         "ifname",
                                         "rack",
                                         NULL};

static mu_status_t check_key(const mu_hosts_build_t *build, const line_t *line, const char *key, size_t n)
{
    mu_buf_t word = MU_BUF_INIT, shown = MU_BUF_INIT;
    for (int i = 0; known_keys[i]; i++)
        if (is_word(key, n, known_keys[i]))
            return MU_OK;
    mu_text_escape(key, n, 40, &shown);
    for (size_t i = 0; i < n && i < 40; i++)
        mu_buf_addc(&word, key[i] >= 'A' && key[i] <= 'Z' ? (char)(key[i] - 'A' + 'a') : key[i]);
    const char *near = mu_nearest_word(word.data ? word.data : "", known_keys);
    mu_status_t status = mu_hosts_build_fail(
        build, place_of(line, key), "\"%s\" is not a word of hostfiles%s%s%s", shown.data,
        near ? ": did you mean " : " (slots, port, user)", near ? near : "", near ? "?" : "");
    mu_buf_release(&word);
    mu_buf_release(&shown);
    return status;
}

/* One "key=value" after the name; blanks around '=' are allowed, as in Open MPI. */
static mu_status_t read_setting(const mu_hosts_build_t *build, line_t *line, mu_host_t *host, mu_buf_t *extra)
{
    const char *key, *value;
    size_t nkey = next_word(line, &key), nvalue;
    skip_blanks(line);
    if (nkey == 0 || line->p == line->end || *line->p != '=')
        return bad_value(build, line, key, nkey, "of the form key=value (as in: NAME slots=8)");
    line->p++;
    skip_blanks(line);
    value = line->p;
    while (line->p < line->end && !is_blank(*line->p))
        line->p++;
    nvalue = (size_t)(line->p - value);

    if (is_word(key, nkey, "slots") || is_word(key, nkey, "cpu") || is_word(key, nkey, "count"))
        return set_number(build, line, value, nvalue, MU_SLOTS_MAX, "a number of slots (1 to 4096)",
                          &host->slots);
    if (is_word(key, nkey, "port"))
        return set_number(build, line, value, nvalue, 65535, "a port (1 to 65535)", &host->port);
    if (is_word(key, nkey, "user")) {
        if (host->user || !mu_hosts_user_valid(value, nvalue))
            return bad_value(build, line, value, nvalue, "a user name, given once");
        host->user = mu_format("%.*s", (int)nvalue, value);
        return MU_OK;
    }
    MU_TRY(check_key(build, line, key, nkey));
    mu_buf_addf(extra, "%s%.*s=", extra->len ? " " : "", (int)nkey, key);
    mu_text_escape(value, nvalue, 1024, extra);
    return MU_OK;
}

static mu_status_t read_line(mu_hosts_build_t *build, line_t *line)
{
    mu_host_t host = {0};
    mu_buf_t extra = MU_BUF_INIT;
    mu_status_t status;
    skip_blanks(line);
    if (line->p == line->end)
        return MU_OK;
    const char *word = line->p;
    while (line->p < line->end && !is_blank(*line->p))
        line->p++;
    mu_origin_t place = place_of(line, word);
    MU_TRY_GOTO(status, mu_hosts_word(build, place, word, (size_t)(line->p - word), &host), done);
    for (skip_blanks(line); line->p < line->end; skip_blanks(line))
        MU_TRY_GOTO(status, read_setting(build, line, &host, &extra), done);
    if (extra.len)
        host.extra = mu_buf_detach(&extra);
    if (host.extra && host.slots == 0 && strstr(host.extra, "max"))
        MU_TRY_GOTO(status, mu_hosts_build_fail(build, place, "%s without slots: write slots=N", host.extra),
                    done);
    status = mu_hosts_build_add(build, &host, place);
done:
    mu_buf_release(&extra);
    mu_host_release(&host);
    return status;
}

mu_status_t mu_hosts_parse_file(const char *source, const char *text, size_t n, mu_hosts_t **out)
{
    mu_hosts_build_t build;
    mu_status_t status = MU_OK;
    const char *p = text, *end = text + n;
    mu_hosts_build_begin(&build, source, MU_CONFIG);
    build.repeats_count = true;
    for (int number = 1; p < end && status == MU_OK; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end, *hash = memchr(p, '#', (size_t)(stop - p));
        line_t line = {p, p, hash ? hash : stop, number};
        if (!hash && line.end > line.p && line.end[-1] == '\r')
            line.end--;
        status = read_line(&build, &line);
        p = newline ? newline + 1 : end;
    }
    return mu_hosts_build_end(&build, status, out);
}
