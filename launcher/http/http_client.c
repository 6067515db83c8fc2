#include "launcher/http/http_client.h"
#include "common/log.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    REPLY_LIMIT = 4 << 20, /* bytes; MLflow's largest answers here are a few kB */
    CONNECT_MS = 5000,
    WHY_LIMIT = 300, /* characters of what a server says */
    SECRETS = 3      /* token, password, and both words of Basic as they travel */
};

struct mu_http_client {
    CURL *curl;
    mu_http_client_options_t options;
    char *secret[SECRETS];
    char error[CURL_ERROR_SIZE];
};

/* What one call writes to. */
typedef struct call {
    mu_http_client_t *client;
    mu_buf_t *body;
    bool too_long;
} call_t;

/* ---- URLs ---- */

static bool take_part(CURLU *url, CURLUPart part, unsigned flags, mu_buf_t *out)
{
    char *text = NULL;
    bool there = curl_url_get(url, part, &text, flags) == CURLUE_OK;
    if (out)
        mu_buf_adds(out, there ? text : "");
    if (there)
        sodium_memzero(text, strlen(text));
    curl_free(text);
    return there;
}

bool mu_http_split_url(const char *text, mu_buf_t *base, mu_buf_t *user, mu_buf_t *password, const char **why)
{
    CURLU *url = curl_url();
    bool good = false;
    *why = NULL;
    if (!url || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
        *why = "it is no URL";
    else if (strncasecmp(text, "http://", 7) != 0 && strncasecmp(text, "https://", 8) != 0)
        *why = "it does not begin with http:// or https://";
    else if (take_part(url, CURLUPART_QUERY, 0, NULL) || take_part(url, CURLUPART_FRAGMENT, 0, NULL))
        *why = "it has a query or a fragment";
    else {
        take_part(url, CURLUPART_USER, CURLU_URLDECODE, user);
        take_part(url, CURLUPART_PASSWORD, CURLU_URLDECODE, password);
        curl_url_set(url, CURLUPART_USER, NULL, 0);
        curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
        good = take_part(url, CURLUPART_URL, 0, base);
        if (!good)
            *why = "it has no host";
        while (base->len > 0 && base->data[base->len - 1] == '/')
            base->data[--base->len] = '\0';
    }
    curl_url_cleanup(url);
    return good;
}

/* Whether a host of `n` bytes ends there: a port, a path or nothing follows. */
static bool ends_after(const char *host, size_t n)
{
    return host[n] == ':' || host[n] == '/' || host[n] == '\0';
}

static bool is_this_machine(const char *host)
{
    static const char *const names[] = {"localhost", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncasecmp(host, names[i], strlen(names[i])) == 0 && ends_after(host, strlen(names[i])))
            return true;
    return strncmp(host, "127.", 4) == 0 && ends_after(host, strspn(host, "0123456789."));
}

bool mu_http_is_open(const char *base)
{
    return strncasecmp(base, "http://", 7) == 0 && !is_this_machine(base + 7);
}

void mu_http_escape(const char *text, mu_buf_t *out)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
            strchr("-._~", *p))
            mu_buf_addc(out, (char)*p);
        else
            mu_buf_addf(out, "%%%02X", *p);
    }
}

/* ---- messages ---- */

/* A server may answer with what it was sent. */
static void blank(const mu_http_client_t *client, char *text)
{
    for (int i = 0; i < SECRETS; i++) {
        const char *secret = client->secret[i];
        size_t n = secret ? strlen(secret) : 0;
        for (char *at = text; n > 0 && (at = strstr(at, secret)) != NULL; at += n)
            memset(at, '*', n);
    }
}

/* The first WHY_LIMIT printable characters of what a server said, without credentials. */
static void add_words(const mu_http_client_t *client, const char *words, size_t n, mu_buf_t *why)
{
    char *text = mu_alloc(n + 1);
    memcpy(text, words, n);
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\0')
            text[i] = ' ';
    text[n] = '\0';
    blank(client, text); /* before it is cut: half of a secret would not be found */
    bool space = true;
    int left = WHY_LIMIT;
    for (const char *p = text; *p && left > 0; p++) {
        bool white = *p == ' ' || *p == '\n' || *p == '\t' || *p == '\r';
        if (!white || !space) {
            mu_buf_addc(why, white ? ' ' : *p > ' ' && *p < 127 ? *p : '?');
            left--;
        }
        space = white;
    }
    sodium_memzero(text, n);
    free(text);
}

static void explain(const mu_http_client_t *client, mu_http_reply_t *reply)
{
    char *target = NULL;
    if (reply->status >= 200 && reply->status < 300)
        return;
    mu_buf_addf(&reply->why, "HTTP status %d", reply->status);
    curl_easy_getinfo(client->curl, CURLINFO_REDIRECT_URL, &target);
    if (reply->status >= 300 && reply->status < 400 && target) {
        mu_buf_adds(&reply->why, ", a redirect to ");
        add_words(client, target, strlen(target), &reply->why);
        mu_buf_adds(&reply->why, ", which is not followed");
    } else if (reply->body.len > 0) {
        mu_buf_adds(&reply->why, ": ");
        add_words(client, reply->body.data, reply->body.len, &reply->why);
    }
}

/* ---- calls ---- */

static size_t take_body(char *bytes, size_t size, size_t count, void *arg)
{
    call_t *call = arg;
    if (call->body->len + size * count > REPLY_LIMIT) {
        call->too_long = true;
        return 0;
    }
    mu_buf_add(call->body, bytes, size * count);
    return size * count;
}

static int look_for_stop(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const mu_http_client_t *client = arg;
    return client->options.stop && *client->options.stop;
}

static void set_up(mu_http_client_t *client, const char *url, call_t *call)
{
    const mu_http_client_options_t *o = &client->options;
    const mu_http_credentials_t *c = &o->credentials;
    CURL *curl = client->curl;
    curl_easy_reset(curl); /* connections stay open */
    client->error[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->error);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "muster/" MU_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_for_stop);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, client);
    /* as programs of OpenSSL take the variable; libcurl itself does not */
    const char *ca_file = o->ca_file ? o->ca_file : getenv("SSL_CERT_FILE");
    if (ca_file && *ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
    if (o->insecure) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (c->token) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, c->token);
    } else if (c->user || c->password) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(curl, CURLOPT_USERNAME, c->user ? c->user : "");
        curl_easy_setopt(curl, CURLOPT_PASSWORD, c->password ? c->password : "");
    }
}

static void perform(mu_http_client_t *client, call_t *call, mu_http_reply_t *reply)
{
    long status = 0;
    CURLcode code = curl_easy_perform(client->curl);
    reply->stopped = code == CURLE_ABORTED_BY_CALLBACK;
    if (code != CURLE_OK) { /* also when a status had come: the answer is not whole */
        const char *words = *client->error ? client->error : curl_easy_strerror(code);
        if (call->too_long)
            mu_buf_addf(&reply->why, "an answer of more than %d bytes", REPLY_LIMIT);
        else if (reply->stopped)
            mu_buf_adds(&reply->why, "no answer before the request was cancelled");
        else
            add_words(client, words, strlen(words), &reply->why);
        if (code == CURLE_PEER_FAILED_VERIFICATION)
            mu_buf_adds(&reply->why, " (SSL_CERT_FILE names a file of certificates to trust)");
        mu_buf_clear(&reply->body);
        return;
    }
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    reply->status = (int)status;
    explain(client, reply);
}

void mu_http_call(mu_http_client_t *client, const char *method, const char *path, const char *type,
                  const mu_buf_t *body, mu_http_reply_t *reply)
{
    mu_http_reply_release(reply);
    call_t call = {client, &reply->body, false};
    char *url = mu_format("%s%s", client->options.base, path), *header = NULL;
    struct curl_slist *headers = NULL;
    set_up(client, url, &call);
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, (long)client->options.timeout_ms);
    if (body) {
        header = mu_format("Content-Type: %s", type);
        headers = curl_slist_append(headers, header);
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, body->len > 0 ? body->data : "");
    }
    headers = curl_slist_append(headers, "Expect:"); /* no pause before a body */
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method);
    perform(client, &call, reply);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    free(header);
    free(url);
}

void mu_http_put_file(mu_http_client_t *client, const char *path, const char *file, mu_http_reply_t *reply)
{
    mu_http_reply_release(reply);
    call_t call = {client, &reply->body, false};
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    FILE *in = fd >= 0 && fstat(fd, &st) == 0 ? fdopen(fd, "rb") : NULL;
    if (!in) {
        mu_buf_addf(&reply->why, "%s: cannot open: %s", file, strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    char *url = mu_format("%s%s", client->options.base, path);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
    set_up(client, url, &call);
    curl_easy_setopt(client->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(client->curl, CURLOPT_LOW_SPEED_TIME, (long)(client->options.timeout_ms + 999) / 1000);
    curl_easy_setopt(client->curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(client->curl, CURLOPT_READDATA, in);
    curl_easy_setopt(client->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)st.st_size);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers);
    perform(client, &call, reply);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    fclose(in);
    free(url);
}

void mu_http_reply_release(mu_http_reply_t *reply)
{
    mu_buf_release(&reply->body);
    mu_buf_release(&reply->why);
    reply->status = 0;
    reply->stopped = false;
}

/* ---- life ---- */

/* Basic's word in the header: base64 of "user:password". */
static char *basic_word(const mu_http_credentials_t *c)
{
    char *both = mu_format("%s:%s", c->user ? c->user : "", c->password ? c->password : "");
    size_t n = strlen(both), size = sodium_base64_encoded_len(n, sodium_base64_VARIANT_ORIGINAL);
    char *out = mu_alloc(size);
    sodium_bin2base64(out, size, (const unsigned char *)both, n, sodium_base64_VARIANT_ORIGINAL);
    sodium_memzero(both, n);
    free(both);
    return out;
}

mu_status_t mu_http_client_open(const mu_http_client_options_t *options, mu_http_client_t **out)
{
    const mu_http_credentials_t *c = &options->credentials;
    mu_http_client_t *client = mu_calloc(1, sizeof *client);
    client->options = *options;
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        !(client->curl = curl_easy_init())) {
        free(client);
        return mu_fail(MU_BUG, "libcurl does not start");
    }
    if (c->token)
        client->secret[0] = mu_strdup(c->token);
    if (c->password)
        client->secret[1] = mu_strdup(c->password);
    if (c->user || c->password)
        client->secret[2] = basic_word(c);
    *out = client;
    return MU_OK;
}

void mu_http_client_close(mu_http_client_t *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    for (int i = 0; i < SECRETS; i++) {
        if (client->secret[i])
            sodium_memzero(client->secret[i], strlen(client->secret[i]));
        free(client->secret[i]);
    }
    free(client);
}
