/* The HTTP server's answers that come later, and clients that leave, wait or are slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "launcher/http/http_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the handler leaves for the test. */
static mu_http_exchange_t *_Atomic waiting;

static void later(const mu_http_request_t *request, mu_http_response_t *response, void *arg)
{
    (void)response, (void)arg;
    assert_string_equal(request->client, "127.0.0.1");
    atomic_store(&waiting, mu_http_defer(request));
}

static mu_http_server_t *open_server(void)
{
    mu_http_server_t *server;
    mu_http_server_options_t options = {
        .listen = "0", .body_limit = 1000, .connections = 300, .idle_s = 60, .request_s = 1, .handle = later};
    assert_int_equal(mu_http_server_open(&options, &server), MU_OK);
    return server;
}

static int dial(const mu_http_server_t *server, const char *text)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)mu_http_server_port(server))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    return fd;
}

static mu_http_exchange_t *next_exchange(void)
{
    mu_http_exchange_t *x;
    while (!(x = atomic_exchange(&waiting, NULL)))
        mu_sleep_ms(1);
    return x;
}

static void read_to_end(int fd, mu_buf_t *out)
{
    char bytes[4096];
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
        mu_buf_add(out, bytes, (size_t)n);
    close(fd);
}

static void an_answer_comes_whole_or_in_pieces(void **state)
{
    (void)state;
    mu_http_server_t *server = open_server();
    mu_buf_t got = MU_BUF_INIT;
    int fd = dial(server, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    mu_http_exchange_t *x = next_exchange();
    mu_sleep_ms(20); /* the connection waits by now */
    mu_http_begin(x, 200, "text/event-stream");
    assert_true(mu_http_write(x, "one", 3));
    char first[600];
    size_t n = 0;
    while (n < sizeof first - 1 && !(n > 3 && memmem(first, n, "one", 3)))
        n += (size_t)read(fd, first + n, sizeof first - 1 - n);
    assert_non_null(memmem(first, n, "text/event-stream", 17));
    assert_true(mu_http_server_busy(server));
    assert_true(mu_http_write(x, "two", 3));
    mu_http_end(x);
    read_to_end(fd, &got);
    assert_non_null(strstr(got.data, "two"));

    mu_buf_clear(&got);
    fd = dial(server, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    x = next_exchange();
    mu_http_begin(x, 503, "text/plain");
    mu_http_write(x, "later", 5);
    mu_http_end(x);
    read_to_end(fd, &got);
    assert_non_null(strstr(got.data, " 503 "));
    mu_buf_release(&got);
    mu_http_server_close(server);
}

static void a_client_that_goes_is_seen(void **state)
{
    (void)state;
    mu_http_server_t *server = open_server();
    int fd = dial(server, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    mu_http_exchange_t *x = next_exchange();
    mu_sleep_ms(20);
    mu_http_server_tick(server);
    assert_false(mu_http_gone(x));
    close(fd);
    while (!mu_http_gone(x)) {
        mu_http_server_tick(server);
        mu_sleep_ms(1);
    }
    mu_http_begin(x, 200, "text/plain");
    assert_false(mu_http_write(x, "x", 1));
    mu_http_end(x);
    while (mu_http_server_busy(server))
        mu_sleep_ms(1);

    /* one that takes nothing cannot make the server hold more than MU_HTTP_UNSENT */
    static char much[1 << 20];
    fd = dial(server, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    x = next_exchange();
    mu_http_begin(x, 200, "text/plain");
    int taken = 0;
    while (mu_http_write(x, much, sizeof much))
        assert_true(++taken < 64);
    mu_http_end(x);
    close(fd);
    /* what waits when the server closes does not hold it up */
    fd = dial(server, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    mu_http_end(next_exchange());
    mu_http_server_close(server);
    close(fd);
}

static int open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Requests that end in the middle, with their client, and some whose client sends nothing more. */
static void no_connection_stays(void **state)
{
    (void)state;
    static const char *const parts[] = {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc",
                                        "\0\0\r\n\r\n", "GET /",
                                        "POST /a HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"};
    mu_http_server_t *server = open_server();
    int before = open_files(), slow[20];
    for (int i = 0; i < 200; i++)
        close(dial(server, parts[i % 4]));
    while (open_files() > before)
        mu_sleep_ms(5);
    for (int i = 0; i < 20; i++)
        slow[i] = dial(server, parts[0]);
    for (int i = 0; i < 20; i++) { /* closed by the server, not before its limit */
        char byte;
        struct timeval limit = {0, 1000};
        setsockopt(slow[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        while (recv(slow[i], &byte, 1, 0) != 0)
            mu_http_server_tick(server);
        close(slow[i]);
    }
    mu_http_server_close(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_whole_or_in_pieces),
        cmocka_unit_test(a_client_that_goes_is_seen),
        cmocka_unit_test(no_connection_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
