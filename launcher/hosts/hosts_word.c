/* The grammar of one host. It is strict because its words become arguments of ssh and mpirun. */
#include "launcher/hosts/hosts_build.h"
#include "common/ready_text.h"
#include "common/buf.h"

#include <arpa/inet.h>
#include <ctype.h>

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_address(int family, const char *text, size_t n)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (n == 0 || n >= sizeof copy)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return strlen(copy) == n && inet_pton(family, copy, address) == 1;
}

/* The C library reads "1.2", "0x7f.1" or "2130706433" as addresses: a name whose last label is a number, in
 * decimal or hexadecimal, is not a name. */
static bool label_is_number(const char *label, size_t n)
{
    size_t i = 0;
    bool hex = n > 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X');
    for (i = hex ? 2 : 0; i < n; i++)
        if (!(hex ? isxdigit((unsigned char)label[i]) : isdigit((unsigned char)label[i])))
            return false;
    return true;
}

bool mu_host_name_valid(const char *name, size_t n)
{
    if (is_address(AF_INET, name, n) || is_address(AF_INET6, name, n))
        return true;
    if (n == 0 || n > 253)
        return false;
    size_t begin = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && name[i] != '.') {
            if (!is_alnum(name[i]) && name[i] != '-' && name[i] != '_')
                return false;
            continue;
        }
        if (i == begin || i - begin > 63 || !is_alnum(name[begin]) || !is_alnum(name[i - 1]))
            return false;
        if (i == n)
            return !label_is_number(name + begin, n - begin);
        begin = i + 1;
    }
    return false;
}

bool mu_hosts_user_valid(const char *user, size_t n)
{
    if (n == 0 || n > 32 || !(isalpha((unsigned char)user[0]) || user[0] == '_'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_alnum(user[i]) && user[i] != '_' && user[i] != '-' && user[i] != '.')
            return false;
    return true;
}

bool mu_hosts_number(const char *text, size_t n, int most, int *out)
{
    int value = 0;
    if (n == 0 || n > 9)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    if (value < 1 || value > most)
        return false;
    *out = value;
    return true;
}

static char *copy_of(const char *text, size_t n)
{
    char *copy = mu_alloc(n + 1);
    memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

static mu_status_t bad_word(const mu_hosts_build_t *build, mu_origin_t place, const char *word, size_t n,
                            const char *why)
{
    mu_buf_t shown = MU_BUF_INIT;
    mu_text_escape(word, n, 80, &shown);
    mu_status_t status = mu_hosts_build_fail(build, place, "\"%s\" %s", shown.data, why);
    mu_buf_release(&shown);
    return status;
}

mu_status_t mu_hosts_word(const mu_hosts_build_t *build, mu_origin_t place, const char *word, size_t n,
                          mu_host_t *host)
{
    const char *at = memchr(word, '@', n), *end = word + n, *colon = NULL;
    if (at) {
        size_t length = (size_t)(at - word);
        if (!mu_hosts_user_valid(word, length))
            return bad_word(build, place, word, length, "is not a user name");
        host->user = copy_of(word, length);
        place.column += (int)length + 1;
        word = at + 1;
    }
    const char *name = word, *name_end = end;
    if (name < end && *name == '[') {
        const char *close = memchr(name, ']', (size_t)(end - name));
        if (!close || !is_address(AF_INET6, name + 1, (size_t)(close - name - 1)))
            return bad_word(build, place, word, (size_t)(end - word), "is not an IPv6 address in brackets");
        name++;
        name_end = close;
        if (close + 1 < end && close[1] != ':')
            return bad_word(build, place, word, (size_t)(end - word),
                            "has something after the bracket: write [address]:slots");
        colon = close + 1 < end ? close + 1 : NULL;
    } else {
        colon = memchr(name, ':', (size_t)(end - name));
        if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
            return bad_word(build, place, word, (size_t)(end - word),
                            "has several colons: write an IPv6 address in brackets, [fd00::1]:8");
        name_end = colon ? colon : end;
        if (name_end > name + 1 && name_end[-1] == '.' &&
            mu_host_name_valid(name, (size_t)(name_end - name - 1)))
            return bad_word(build, place, name, (size_t)(name_end - name),
                            "ends with a dot, which Open MPI cannot take: leave the dot out");
        if (!mu_host_name_valid(name, (size_t)(name_end - name)))
            return bad_word(build, place, name, (size_t)(name_end - name),
                            "is not a host name (letters, digits, '-', '_' and '.') or an address");
    }
    if (colon && !mu_hosts_number(colon + 1, (size_t)(end - colon - 1), MU_SLOTS_MAX, &host->slots)) {
        place.column += (int)(colon + 1 - word);
        return bad_word(build, place, colon + 1, (size_t)(end - colon - 1),
                        "is not a number of slots (1 to 4096)");
    }
    host->name = copy_of(name, (size_t)(name_end - name));
    return MU_OK;
}
