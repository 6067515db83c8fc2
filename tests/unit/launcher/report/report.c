/* What is read out of a run directory: where the time went, the full-screen view, the page of a comparison. */
#include "common/file.h"
#include "launcher/report/compare.h"
#include "launcher/report/plot.h"
#include "launcher/report/status_text.h"
#include "launcher/report/view.h"
#include "worker/train/stall.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct fixture {
    char dir[64];
    mu_buf_t metrics, events;
} fixture_t;

static void begin(fixture_t *f)
{
    *f = (fixture_t){.dir = "/tmp/muster-report-XXXXXX"};
    assert_non_null(mkdtemp(f->dir));
}

static void put(const fixture_t *f, const char *name, const char *text)
{
    char *path = mu_path_join(f->dir, name);
    assert_int_equal(mu_file_replace(path, text, strlen(text), 0600), MU_OK);
    free(path);
}

static void write_all(fixture_t *f, const mu_run_state_t *state)
{
    mu_buf_t json = MU_BUF_INIT;
    mu_run_state_json(state, &json);
    put(f, "run.json", json.data);
    put(f, "metrics.jsonl", f->metrics.data ? f->metrics.data : "");
    put(f, "events.jsonl", f->events.data ? f->events.data : "");
    mu_buf_release(&json);
}

static void end(fixture_t *f)
{
    mu_buf_release(&f->metrics);
    mu_buf_release(&f->events);
    assert_int_equal(mu_remove_tree(f->dir), MU_OK);
}

static void event(fixture_t *f, double time, const char *kind, const char *more)
{
    mu_buf_addf(&f->events, "{\"time\":%.3f,\"kind\":\"%s\",\"text\":\"t\"%s}\n", time, kind, more);
}

/* A step of 1 s: 0.1 s for data, 0.2 s for the exchange, of 0.3 s waited. */
static void point(fixture_t *f, double time, int step, double checkpoint_ms, double eval_ms)
{
    mu_buf_addf(&f->metrics,
                "{\"step\": %d, \"samples\": %d, \"tokens\": %d, \"loss\": %.17g, \"step_ms\": 1000, "
                "\"tokens_per_s\": 64, "
                "\"data_wait_ms\": 100, \"comm_ms\": 300, \"peer_wait_ms\": 100, \"checkpoint_ms\": %g, "
                "\"eval_ms\": %g, "
                "%s\"time\": %.3f}\n",
                step, step, 64 * step, 3.0 + 1.0 / step, checkpoint_ms, eval_ms,
                eval_ms > 0 ? "\"valid_loss\": 3.5, \"valid_ppl\": 33.1, " : "", time);
}

/* Two deaths: steps 3 to 4, then 5 to 6 are done twice. The checkpoint of step 2 stands before the first death. */
static void two_deaths(fixture_t *f)
{
    event(f, 1000, "launcher", "");
    event(f, 1001, "attempt", "");
    point(f, 1011, 1, 0, 0);     /* start: until 1010 */
    point(f, 1012.5, 2, 0, 500); /* evaluation */
    point(f, 1014, 3, 400, 0);   /* saved step 2; 0.1 s of nothing */
    point(f, 1015, 4, 0, 0);
    event(f, 1017, "failed", "");
    event(f, 1018, "over", ",\"exit_code\":81,\"checkpoint_s\":0.4,\"last_checkpoint\":2");
    event(f, 1020, "attempt", "");
    point(f, 1026, 3, 0, 0); /* start: until 1025 */
    point(f, 1027, 4, 0, 0);
    point(f, 1028.5, 5, 500, 0); /* saved step 4 */
    point(f, 1029.5, 6, 0, 0);
    event(f, 1031, "over", ",\"exit_code\":81,\"checkpoint_s\":0.5,\"last_checkpoint\":4");
    event(f, 1032, "attempt", "");
    point(f, 1038, 5, 0, 0); /* start: until 1037 */
    point(f, 1039, 6, 0, 0);
    event(f, 1039.1, "stall", "");
    event(f, 1041, "over",
          ",\"exit_code\":0,\"checkpoint_s\":1.5,\"last_checkpoint\":6"); /* saved step 6 at the end */
    event(f, 1042, "end", "");
}

static void the_parts_are_the_wall_time(void **state)
{
    (void)state;
    fixture_t f;
    mu_account_t a;
    begin(&f);
    two_deaths(&f);
    write_all(&f, &(mu_run_state_t){.state = "done", .step = 6, .train_iters = 6, .last_checkpoint = 6});
    assert_int_equal(mu_accounting_of(f.dir, &a), MU_OK);
    const double want[MU_PARTS] = {[MU_PART_compute] = 6 * 0.7,
                                   [MU_PART_communication] = 6 * 0.2,
                                   [MU_PART_data_wait] = 6 * 0.1,
                                   [MU_PART_checkpoint] = 0.4 + 0.5 + 1.5,
                                   [MU_PART_evaluation] = 0.5,
                                   [MU_PART_start] = 10 + 7 + 6,
                                   [MU_PART_lost] = 1.1 + 1 + 3 + 1 + 1 + 1.5,
                                   [MU_PART_other] = 0.5 + 1};
    for (int i = 0; i < MU_PARTS; i++)
        if (fabs(a.part[i] - want[i]) > 1e-6)
            fail_msg("%s: %.6f s, wanted %.6f", mu_part_name(i), a.part[i], want[i]);
    assert_true(fabs(a.wall - 42) < 1e-6);
    /* two failures; Young and Daly from the mean of the stalls */
    assert_int_equal(a.failures, 2);
    assert_true(a.saves > 0);
    double stall = a.part[MU_PART_checkpoint] / (double)a.saves;
    assert_true(fabs(mu_account_interval(&a) - sqrt(2 * stall * a.wall / 2)) < 1e-9);
    assert_true(mu_account_interval_known(&a));
    a.failures = 0; /* a young run without a failure says nothing of it, an old one a lower bound */
    assert_false(mu_account_interval_known(&a));
    a.wall = MU_ACCOUNT_YOUNG;
    assert_true(mu_account_interval_known(&a));
    a.wall = 42;
    assert_true(fabs(mu_account_goodput(&a) - 6 * 0.9 / 42) < 1e-9);
    assert_int_equal(a.steps, 6);
    assert_int_equal(a.lost_steps, 4);
    assert_int_equal(a.attempts, 3);
    assert_int_equal(a.stalls, 1);
    assert_true(a.step_ms_min == 1000 && a.step_ms_median == 1000 && a.step_ms_max == 1000);
    end(&f);
}

/* A launcher that was killed, and one that follows after an hour: nobody worked in between. */
static void a_killed_launcher_ends_with_its_last_sign(void **state)
{
    (void)state;
    fixture_t f;
    mu_account_t a;
    begin(&f);
    event(&f, 1000, "launcher", "");
    event(&f, 1001, "attempt", "");
    point(&f, 1011, 1, 0, 0);
    event(&f, 4600, "launcher", "");
    event(&f, 4601, "attempt", "");
    point(&f, 4611, 1, 0, 0);
    event(&f, 4612, "over", ",\"exit_code\":75,\"checkpoint_s\":1,\"last_checkpoint\":1");
    event(&f, 4612, "end", "");
    write_all(&f, &(mu_run_state_t){.state = "stopped", .step = 1, .train_iters = 9, .last_checkpoint = 1});
    assert_int_equal(mu_accounting_of(f.dir, &a), MU_OK);
    assert_true(fabs(a.wall - 23) < 1e-6);
    assert_true(fabs(a.part[MU_PART_lost] - 1) < 1e-6);
    assert_true(fabs(a.part[MU_PART_checkpoint] - 1) < 1e-6);
    assert_int_equal(a.steps, 1);
    assert_int_equal(a.lost_steps, 1);
    end(&f);
}

/* A run that failed for good: what is not in a checkpoint must be done again. */
static void steps_after_the_last_checkpoint_of_a_failed_run_are_lost(void **state)
{
    (void)state;
    fixture_t f;
    mu_account_t a;
    begin(&f);
    event(&f, 1000, "launcher", "");
    event(&f, 1000, "attempt", "");
    for (int i = 1; i <= 5; i++)
        point(&f, 1000 + i, i, 0, 0);
    event(&f, 1005, "over", ",\"exit_code\":82,\"checkpoint_s\":0,\"last_checkpoint\":2");
    event(&f, 1005, "end", "");
    write_all(&f, &(mu_run_state_t){.state = "failed", .step = 5, .train_iters = 9, .last_checkpoint = 2});
    assert_int_equal(mu_accounting_of(f.dir, &a), MU_OK);
    assert_int_equal(a.steps, 2);
    assert_int_equal(a.lost_steps, 3);
    assert_true(fabs(a.wall - 5) < 1e-6 && fabs(a.part[MU_PART_lost] - 3) < 1e-6);
    end(&f);
}

static void torn_and_foreign_lines_are_left_out(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{}",
                                      "{\"step\": 1}",
                                      "{\"step\": 0, \"time\": 1}",
                                      "[1]",
                                      "{\"step\": 1, \"time\": 1",
                                      "{\"step\": 1, \"time\": 1} x",
                                      "{\"step\": 1, \"ti",
                                      "{\"step\": true, \"time\": 1}",
                                      "{\"step\" 1}",
                                      "{1: 2}",
                                      "{\"step\": 1e300, \"time\": 1}",
                                      "{\"step\": 1, \"time\": nan}"};
    mu_point_t p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mu_point_parse(bad[i], &p))
            fail_msg("'%s' is taken", bad[i]);
    assert_true(mu_point_parse(
        " { \"loss\" : null , \"x\": \"a\\\"}\", \"skipped\": false, \"time\":2.5e3,\"step\":7}\r", &p));
    assert_true(p.step == 7 && p.time == 2500 && isnan(p.loss) && isnan(p.valid_loss));
    fixture_t f;
    mu_history_t *h;
    size_t n;
    begin(&f);
    mu_buf_adds(&f.metrics, "{\"step\": 1, \"time\": 1}\n{\"step\": 2, \"ti\n{\"step\": 2, \"time\": "
                            "2}\n{\"step\": 3, \"time\": 3}");
    write_all(&f, &(mu_run_state_t){.state = "running"});
    assert_int_equal(mu_history_open(f.dir, &h), MU_OK);
    mu_history_points(h, &n);
    assert_int_equal(n, 2); /* the last one has no newline yet */
    assert_int_equal(mu_history_damaged(h), 1);
    mu_buf_adds(&f.metrics, "\n{\"step\": 2, \"time\": 4}\n");
    write_all(&f, &(mu_run_state_t){.state = "running"});
    assert_int_equal(mu_history_update(h), MU_OK);
    const mu_point_t *all = mu_history_points(h, &n);
    assert_int_equal(n, 4);
    assert_true(!all[0].replaced && all[1].replaced && all[2].replaced && !all[3].replaced);
    mu_buf_clear(&f.metrics);
    mu_buf_adds(&f.metrics, "{\"step\": 9, \"time\": 9}\n"); /* another file */
    write_all(&f, &(mu_run_state_t){.state = "running"});
    assert_int_equal(mu_history_update(h), MU_OK);
    all = mu_history_points(h, &n);
    assert_true(n == 1 && all[0].step == 9);
    assert_int_equal(mu_history_damaged(h), 0); /* of this file, not of the one before */
    mu_history_close(h);
    end(&f);
}

static void a_stall_is_more_than_three_medians(void **state)
{
    (void)state;
    mu_stall_t s = {.count = 0};
    double median;
    for (int i = 0; i < MU_STALL_LEAST; i++)
        assert_false(mu_stall_add(&s, i == 0 ? 5000 : 200, &median));
    assert_false(mu_stall_add(&s, 600, &median));
    assert_true(median == 200);
    assert_true(mu_stall_add(&s, 601, &median));
    assert_true(mu_stall_add(&s, 9000, &median));
    assert_true(median == 200 || median == 600);
    mu_stall_t fast = {.count = 0};
    for (int i = 0; i < 100; i++)
        assert_false(
            mu_stall_add(&fast, i % 10 == 9 ? 90 : 5, &median)); /* a time slice of another process */
    assert_true(mu_stall_add(&fast, 106, &median));
}

/* ---- drawings ---- */

/* Lines, the widest one in cells, and whether there is a byte that a terminal obeys. */
static void measure(const char *text, int *lines, int *widest, bool *control)
{
    int width = 0;
    *lines = 1;
    *widest = 0;
    *control = false;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '\n') {
            *lines += 1;
            width = 0;
        } else {
            *control = *control || *p < ' ' || *p == 127;
            width += (*p & 0xc0) != 0x80;
        }
        *widest = width > *widest ? width : *widest;
    }
}

static void the_view_fits_every_screen(void **state)
{
    (void)state;
    fixture_t f;
    mu_history_t *h;
    mu_account_t a;
    begin(&f);
    two_deaths(&f);
    mu_run_state_t run = {.state = "done",
                          .step = 6,
                          .train_iters = 6,
                          .last_checkpoint = 6,
                          .host = "h\033[2J",
                          .hosts = "a\033[31m: ranks 0-4",
                          .slowest_host = "b\n",
                          .rank_compute_ms = {1, 2, 3, 4}};
    write_all(&f, &run);
    assert_int_equal(mu_history_open(f.dir, &h), MU_OK);
    mu_accounting(h, &a);
    static const int size[][2] = {{80, 24}, {200, 50}, {40, 12}, {20, 5},
                                  {10, 2},  {1, 1},    {80, 1},  {500, 200}};
    for (size_t i = 0; i < 2 * sizeof size / sizeof *size; i++) {
        mu_buf_t out = MU_BUF_INIT;
        const int *s = size[i / 2];
        mu_view_t view = {h, &a, 1050, s[0], s[1], i % 2, " q: leave"};
        int lines, widest;
        bool control;
        mu_view_draw(&view, &out);
        measure(out.data, &lines, &widest, &control);
        if (widest > s[0] || lines > s[1] || control)
            fail_msg("%d x %d: %d lines, %d cells, control %d:\n%s", s[0], s[1], lines, widest, control,
                     out.data);
        if (s[0] >= 80 && s[1] >= 24)
            for (size_t k = 0; k < 8; k++) {
                static const char *const words[] = {"done",    "step 6/6",   "lost to restarts",
                                                    "goodput", "checkpoint", "slowest",
                                                    "hosts",   "restarts"};
                if (!strstr(out.data, words[k]))
                    fail_msg("%d x %d: no '%s':\n%s", s[0], s[1], words[k], out.data);
            }
        mu_buf_release(&out);
    }
    mu_history_close(h);
    end(&f);
}

static void a_terminal_obeys_no_state(void **state)
{
    (void)state;
    fixture_t f;
    mu_history_t *h;
    mu_account_t a;
    begin(&f);
    two_deaths(&f);
    write_all(&f, &(mu_run_state_t){.state = "x\033[2J", .step = 6, .train_iters = 6, .last_checkpoint = 6});
    assert_int_equal(mu_history_open(f.dir, &h), MU_OK);
    mu_accounting(h, &a);
    for (int form = 0; form < 3; form++) {
        mu_buf_t out = MU_BUF_INIT;
        mu_view_t view = {h, &a, 1050, 120, 30, false, ""};
        bool control;
        if (form == 0)
            mu_status_line(h, &out);
        else if (form == 1)
            mu_view_draw(&view, &out);
        else
            mu_status_row(h, &a, 120, &out);
        measure(out.data, &(int){0}, &(int){0}, &control);
        if (control || !strstr(out.data, form == 2 ? "gone" : "x\\x1b[2J"))
            fail_msg("form %d: control %d: %s", form, control, out.data);
        mu_buf_release(&out);
    }
    mu_history_close(h);
    end(&f);
}

static void a_curve_goes_from_corner_to_corner(void **state)
{
    (void)state;
    double x[] = {1, 2, 3, 4, 5}, y[] = {5, 4, 3, 2, 1};
    mu_buf_t out = MU_BUF_INIT;
    mu_plot_t plot = {x, y, 5, 9 + 5, 6, false};
    mu_plot_draw(&plot, &out);
    assert_string_equal(out.data, "       5 *\n"
                                  "         **\n"
                                  "       3  **\n"
                                  "           **\n"
                                  "       1    **\n"
                                  "         1   5\n");
    mu_buf_clear(&out);
    plot = (mu_plot_t){x, (double[]){NAN, NAN, NAN, NAN, NAN}, 5, 30, 4, true};
    mu_plot_draw(&plot, &out);
    assert_null(strpbrk(out.data, "0123456789*"));
    mu_buf_clear(&out);
    plot = (mu_plot_t){x, y, 0, 30, 4, true};
    mu_plot_draw(&plot, &out);
    assert_null(strpbrk(out.data, "0123456789*"));
    mu_buf_release(&out);
}

/* Every element that is opened is closed, in order, and every attribute's quotes are; void elements aside. */
static void check_markup(const char *page)
{
    char open[64][16];
    int depth = 0;
    assert_true(strncmp(page, "<!DOCTYPE html>", 15) == 0);
    for (const char *p = page + 15; (p = strchr(p, '<')) != NULL;) {
        bool closing = p[1] == '/';
        char name[16] = "";
        size_t n = strspn(p + 1 + closing, "abcdefghijklmnopqrstuvwxyz0123456789");
        assert_true(n > 0 && n < sizeof name);
        memcpy(name, p + 1 + closing, n);
        const char *q = p + 1 + closing + n;
        bool quoted = false;
        for (; *q && (quoted || *q != '>'); q++)
            quoted ^= *q == '"';
        assert_true(*q == '>');
        bool empty = q[-1] == '/' || strcmp(name, "meta") == 0 || strcmp(name, "br") == 0;
        if (closing) {
            assert_true(depth > 0);
            depth--;
            assert_string_equal(open[depth], name);
        } else if (!empty) {
            assert_true(depth < 64);
            memcpy(open[depth++], name, sizeof name);
        }
        p = q + 1;
    }
    assert_int_equal(depth, 0);
}

static void the_page_stands_alone(void **state)
{
    (void)state;
    fixture_t f[2];
    mu_summary_t runs[2];
    mu_buf_t page = MU_BUF_INIT, text = MU_BUF_INIT;
    for (int i = 0; i < 2; i++) {
        begin(&f[i]);
        two_deaths(&f[i]);
        mu_buf_adds(
            &f[i].events,
            "{\"time\":1043,\"kind\":\"<b>\",\"host\":\"a&b\",\"text\":\"<script>x</script>\\u0007\"}\n");
        write_all(
            &f[i],
            &(mu_run_state_t){
                .state = "done", .step = 6, .train_iters = 6, .last_checkpoint = 6, .data_version = "d1"});
        put(&f[i], "config.yml",
            i == 0 ? "seed: 1\nmuster:\n  device: cpu\n" : "seed: 2\nmuster:\n  device: cpu\n");
        assert_int_equal(mu_summary_open(f[i].dir, &runs[i]), MU_OK);
    }
    mu_compare_text(runs, 2, &text);
    mu_compare_html(runs, 2, &page);
    check_markup(page.data);
    assert_null(strstr(page.data, "<script"));
    assert_null(strstr(page.data, "http"));
    assert_null(strstr(page.data, "src="));
    assert_null(strstr(page.data, "url("));
    assert_non_null(strstr(page.data, "&lt;script&gt;x&lt;/script&gt;\xef\xbf\xbd"));
    int drawings = 0, titles = 0, words = 0;
    for (const char *p = page.data; (p = strstr(p, "<svg ")) != NULL; p++)
        drawings++;
    for (const char *p = page.data; (p = strstr(p, "<title>")) != NULL; p++)
        titles++;
    for (const char *p = page.data; (p = strstr(p, "<desc>")) != NULL; p++)
        words++;
    assert_int_equal(drawings, 6);
    assert_int_equal(titles, drawings + 1); /* and the page's */
    assert_int_equal(words, drawings);
    assert_non_null(strstr(text.data, "seed"));
    assert_null(strstr(text.data, "device")); /* alike */
    int differences;
    free(mu_summary_differences(runs, 2, &differences));
    assert_int_equal(differences, 1);
    mu_buf_clear(&page);
    mu_compare_html(runs, 1, &page);
    check_markup(page.data);
    assert_non_null(strstr(page.data, "muster.device"));
    for (int i = 0; i < 2; i++) {
        mu_summary_close(&runs[i]);
        end(&f[i]);
    }
    mu_buf_release(&page);
    mu_buf_release(&text);
}

static void text_of_html_is_escaped(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT;
    mu_html_text("a<b>&\"\x01\x7f\xc3\xa9\xff\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80|\xe2\x82", &out);
    assert_non_null(strstr(out.data, "a&lt;b&gt;&amp;&quot;\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd"));
    for (const unsigned char *p = (unsigned char *)out.data; *p; p++)
        assert_true(*p >= ' ' && *p != 0xff && *p != 0xc0 && *p != 0xed && *p != 0xf4 && *p != 0x82);
    mu_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_are_the_wall_time),
        cmocka_unit_test(a_killed_launcher_ends_with_its_last_sign),
        cmocka_unit_test(steps_after_the_last_checkpoint_of_a_failed_run_are_lost),
        cmocka_unit_test(torn_and_foreign_lines_are_left_out),
        cmocka_unit_test(a_stall_is_more_than_three_medians),
        cmocka_unit_test(the_view_fits_every_screen),
        cmocka_unit_test(a_terminal_obeys_no_state),
        cmocka_unit_test(a_curve_goes_from_corner_to_corner),
        cmocka_unit_test(the_page_stands_alone),
        cmocka_unit_test(text_of_html_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
