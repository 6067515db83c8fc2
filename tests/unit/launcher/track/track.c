/* muster track: event files read back by a decoder that shares nothing with the encoder; each point once. */
#include "common/file.h"
#include "common/log.h"
#include "launcher/track/track.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- decoder ---- */

typedef struct point {
    char tag[64];
    int64_t step;
    double time;
    float value;
} point_t;

typedef struct decoded {
    point_t points[256];
    int count, records, restarts, texts;
    int64_t restart_step;
} decoded_t;

static uint32_t crc_table[256];

/* By table, most significant polynomial reflected: the encoder goes bit by bit. */
static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (uint32_t i = 0; i < 256 && !crc_table[255]; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c % 2 ? c / 2 ^ 0x82f63b78 : c / 2;
        crc_table[i] = c;
    }
    while (n-- > 0)
        crc = crc_table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return ~crc;
}

static void check_crc(const uint8_t *bytes, size_t n, const uint8_t *stored)
{
    uint32_t masked, crc = crc32c(bytes, n);
    memcpy(&masked, stored, 4);
    masked -= 0xa282ead8;
    assert_int_equal((masked >> 17) | (masked << 15), crc);
}

static uint64_t varint(const uint8_t **p, const uint8_t *end)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        assert_true(*p < end);
        uint8_t byte = *(*p)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    fail_msg("a varint of more than ten bytes");
    return 0;
}

typedef struct field {
    int number, wire;
    uint64_t integer; /* or the raw bits */
    const uint8_t *bytes, *end;
} field_t;

static bool next_field(const uint8_t **p, const uint8_t *end, field_t *f)
{
    if (*p >= end)
        return false;
    uint64_t key = varint(p, end);
    *f = (field_t){.number = (int)(key >> 3), .wire = (int)(key & 7)};
    size_t n = f->wire == 1 ? 8 : f->wire == 5 ? 4 : 0;
    if (f->wire == 0 || f->wire == 2)
        f->integer = varint(p, end);
    if (f->wire == 2)
        n = (size_t)f->integer;
    assert_true(n <= (size_t)(end - *p));
    if (f->wire == 1 || f->wire == 5)
        memcpy(&f->integer, *p, n);
    f->bytes = *p;
    f->end = *p += n;
    return true;
}

static void decode_value(const uint8_t *p, const uint8_t *end, point_t point, decoded_t *d)
{
    bool scalar = false;
    for (field_t f; next_field(&p, end, &f);) {
        if (f.number == 1)
            snprintf(point.tag, sizeof point.tag, "%.*s", (int)(f.end - f.bytes), (const char *)f.bytes);
        else if (f.number == 2 && f.wire == 5) {
            memcpy(&point.value, &f.integer, 4);
            scalar = true;
        } else if (f.number == 8)
            d->texts++;
    }
    assert_true(d->count < 256);
    if (scalar)
        d->points[d->count++] = point;
}

static void decode_event(const uint8_t *p, const uint8_t *end, decoded_t *d)
{
    point_t point = {.step = 0};
    for (field_t f; next_field(&p, end, &f);) {
        if (f.number == 1 && f.wire == 1)
            memcpy(&point.time, &f.integer, 8);
        else if (f.number == 2)
            point.step = (int64_t)f.integer;
        else if (f.number == 3)
            assert_memory_equal(f.bytes, "brain.Event:2", 13);
        else if (f.number == 5) {
            const uint8_t *q = f.bytes;
            for (field_t v; next_field(&q, f.end, &v);)
                decode_value(v.bytes, v.end, point, d);
        } else if (f.number == 7) {
            d->restarts++;
            d->restart_step = point.step;
        }
    }
}

static void decode(const char *path, decoded_t *d)
{
    mu_buf_t text = MU_BUF_INIT;
    assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xe3069283); /* RFC 3720's check value */
    assert_int_equal(mu_file_read(path, 1 << 24, &text), MU_OK);
    *d = (decoded_t){0};
    for (size_t at = 0; at < text.len; d->records++) {
        const uint8_t *p = (const uint8_t *)text.data + at;
        uint64_t n;
        assert_true(text.len - at >= 16);
        memcpy(&n, p, 8);
        assert_true(n <= text.len - at - 16);
        check_crc(p, 8, p + 8);
        check_crc(p + 12, n, p + 12 + n);
        decode_event(p + 12, p + 12 + n, d);
        at += 16 + n;
    }
    mu_buf_release(&text);
}

static const point_t *find(const decoded_t *d, const char *tag, int64_t step)
{
    const point_t *found = NULL;
    for (int i = 0; i < d->count; i++)
        if (d->points[i].step == step && strcmp(d->points[i].tag, tag) == 0) {
            assert_null(found);
            found = &d->points[i];
        }
    return found;
}

/* ---- a run directory ---- */

static char dir[64], *metrics, *cursor, *events, *board;

static void hush(mu_log_level_t level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static void add(const char *text)
{
    int fd = open(metrics, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    assert_true(mu_write_all(fd, text, strlen(text)));
    close(fd);
}

static void add_step(int step, double loss)
{
    char *line =
        mu_format("{\"step\": %d, \"samples\": %d, \"tokens\": %d, \"loss\": %.17g, \"lr\": 0.001, "
                  "\"grad_norm\": null, \"step_ms\": 250, \"tokens_per_s\": 640, \"data_wait_ms\": 5, "
                  "\"comm_ms\": 10, \"time\": %d.5%s}\n",
                  step, step * 4, step * 160, loss, 1000 + step,
                  step % 2 == 0 ? ", \"valid_loss\": 2.5, \"valid_ppl\": 12.25" : "");
    add(line);
    free(line);
}

static int set_up(void **state)
{
    (void)state;
    static const char run[] = "{\"state\": \"done\", \"step\": 3, \"started\": 1000.0, \"time\": 1003.0, "
                              "\"token\": \"0123456789abcdef\"}\n";
    mu_log_sink_set(hush, NULL);
    snprintf(dir, sizeof dir, "/tmp/muster-track-XXXXXX");
    assert_non_null(mkdtemp(dir));
    metrics = mu_path_join(dir, "metrics.jsonl");
    cursor = mu_path_join(dir, "track.json");
    board = mu_path_join(dir, "board");
    events = mu_path_join(board, "events.out.tfevents.0000000000.muster.0123456789abcdef");
    char *path = mu_path_join(dir, "run.json");
    assert_int_equal(mu_file_replace(path, run, strlen(run), 0600), MU_OK);
    free(path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    free(metrics);
    free(cursor);
    free(board);
    free(events);
    return mu_remove_tree(dir) == MU_OK ? 0 : -1;
}

static mu_status_t track(bool once)
{
    return mu_track(&(mu_track_t){.run_dir = dir, .tensorboard = board, .once = once});
}

/* ---- tests ---- */

static void points_are_those_of_metrics(void **state)
{
    (void)state;
    decoded_t d;
    add_step(1, 1.0 / 3);
    add_step(2, 0.25);
    assert_int_equal(track(false), MU_OK); /* the run has ended, so this ends too */
    decode(events, &d);
    assert_int_equal(d.records, 4); /* version, text, two steps */
    assert_int_equal(d.texts, 1);
    assert_int_equal(d.count, 9 + 11);
    assert_true(find(&d, "train/lm_loss", 1)->value == (float)(1.0 / 3));
    assert_true(find(&d, "train/lm_loss", 1)->time == 1001.5);
    assert_true(find(&d, "train/lm_loss", 2)->value == 0.25f);
    assert_true(find(&d, "runtime/iteration_time", 1)->value == 0.25f);
    assert_true(find(&d, "runtime/steps_per_sec", 1)->value == 4);
    assert_true(find(&d, "runtime/samples_per_sec", 1)->value == 16);
    assert_true(isnan(find(&d, "train/grad_norm", 1)->value));
    assert_null(find(&d, "validation/lm_loss", 1));
    assert_true(find(&d, "validation/lm_loss_ppl", 2)->value == 12.25f);
}

static void each_point_comes_once(void **state)
{
    (void)state;
    decoded_t d;
    mu_buf_t old = MU_BUF_INIT;
    add_step(1, 3);
    assert_int_equal(track(true), MU_OK);
    assert_int_equal(mu_file_read(cursor, 65536, &old), MU_OK);
    assert_int_equal(track(true), MU_OK);
    add_step(2, 2);
    add("{\"step\": 3, \"lo"); /* not yet a line */
    assert_int_equal(track(true), MU_OK);
    decode(events, &d);
    assert_int_equal(d.count, 9 + 11);
    assert_null(find(&d, "train/lm_loss", 3));

    /* killed after the event file, before the cursor */
    assert_int_equal(mu_file_replace(cursor, old.data, old.len, 0600), MU_OK);
    assert_int_equal(track(true), MU_OK);
    decode(events, &d);
    assert_int_equal(d.count, 9 + 11);
    /* without a cursor, and without the event file */
    assert_int_equal(unlink(cursor), 0);
    assert_int_equal(track(true), MU_OK);
    decode(events, &d);
    assert_int_equal(d.count, 9 + 11);
    assert_int_equal(unlink(events), 0);
    assert_int_equal(track(true), MU_OK);
    decode(events, &d);
    assert_int_equal(d.count, 9 + 11);
    assert_int_equal(d.restarts, 0);
    mu_buf_release(&old);
}

static void a_repeated_step_replaces(void **state)
{
    (void)state;
    decoded_t d;
    add_step(1, 3);
    add_step(2, 2);
    add_step(3, 1.5);
    add("{\"step\": 4, \"lo\n"); /* torn, and ended by the writer */
    assert_int_equal(track(true), MU_OK);
    add_step(2, 2);
    add_step(3, 1.5);
    assert_int_equal(track(true), MU_OK);
    decode(events, &d);
    assert_int_equal(d.restarts, 1);
    assert_int_equal(d.restart_step, 2);
    assert_int_equal(d.count, 3 * 9 + 2 + 2 * 9 + 2);
    assert_null(find(&d, "train/lm_loss", 4));
}

static void many_parts(void **state)
{
    (void)state;
    decoded_t d;
    mu_buf_t wide = MU_BUF_INIT;
    for (int step = 1; step <= 5; step++) { /* lines of 300 kB: three parts */
        mu_buf_clear(&wide);
        mu_buf_addf(&wide, "{\"step\": %d, \"loss\": %d, \"time\": 1, \"pad\": \"%0300000d\"}\n", step, step,
                    0);
        add(wide.data);
    }
    assert_int_equal(track(true), MU_OK);
    decode(events, &d);
    for (int step = 1; step <= 5; step++)
        assert_true(find(&d, "train/lm_loss", step)->value == (float)step);
    assert_int_equal(d.restarts, 0);
    mu_buf_clear(&wide);
    mu_buf_addf(&wide, "{\"step\": 6, \"pad\": \"%02000000d\"}\n", 0);
    add(wide.data);
    assert_int_equal(track(true), MU_DATA);
    mu_buf_release(&wide);
}

static mu_buf_t said;

static void hear(mu_log_level_t level, const char *line, void *arg)
{
    (void)level, (void)arg;
    mu_buf_addf(&said, "%s\n", line);
}

/* Storage that lost a block leaves zeros: one damaged line, counted and passed over. */
static void a_line_with_zeros_is_passed_over(void **state)
{
    (void)state;
    static const char zeros[] = "{\"step\": 9,\0\0 \"loss\": 1}\n\0\n";
    decoded_t d;
    mu_log_sink_set(hear, NULL);
    add_step(1, 3);
    int fd = open(metrics, O_WRONLY | O_APPEND);
    assert_true(fd >= 0 && mu_write_all(fd, zeros, sizeof zeros - 1));
    close(fd);
    add_step(2, 2);
    assert_int_equal(track(false), MU_OK);
    decode(events, &d);
    assert_int_equal(d.count, 9 + 11);
    assert_non_null(find(&d, "train/lm_loss", 2));
    assert_null(find(&d, "train/lm_loss", 9));
    assert_int_equal(d.restarts, 0);
    assert_non_null(strstr(said.data, "2 lines are torn or damaged"));
    mu_buf_release(&said);
}

static void refusals(void **state)
{
    (void)state;
    add_step(1, 3);
    mu_track_t nowhere = {.run_dir = "/nonexistent", .tensorboard = board, .once = true};
    assert_int_equal(mu_track(&nowhere), MU_NOINPUT);
    assert_false(mu_is_dir(board));
    mu_track_t file = {.run_dir = dir, .tensorboard = metrics, .once = true};
    assert_int_equal(mu_track(&file), MU_RUNDIR);

    char *path = mu_path_join(dir, "track.lock");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(track(true), MU_RUNDIR);
    close(fd);
    free(path);

    assert_int_equal(mu_file_replace(cursor, "{\"tens", 6, 0600), MU_OK);
    assert_int_equal(track(true), MU_DATA);
    assert_int_equal(unlink(cursor), 0);
    assert_int_equal(mkdir(events, 0700), 0); /* in the way of the event file */
    assert_int_equal(track(true), MU_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(points_are_those_of_metrics, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_point_comes_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_repeated_step_replaces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_with_zeros_is_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refusals, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
