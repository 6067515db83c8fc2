#include "launcher/cmd/cmd.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/stdio_setup.h"
#include "launcher/report/status_text.h"
#include "launcher/report/terminal.h"
#include "launcher/report/view.h"

#include <errno.h>
#include <unistd.h>

enum { RUNS_MOST = 64, REPEAT_MS = 1000 };

typedef struct watched {
    mu_history_t *history;
    mu_account_t account;
    int64_t shown_step; /* of the last plain line */
    char shown_state[16];
} watched_t;

typedef struct status_command {
    watched_t run[RUNS_MOST];
    mu_words_t dirs;
    int count; /* of runs */
    bool watch, json, exit_status;
} status_command_t;

static const mu_option_t options[] = {
    MU_OPT("RUN", NULL, MU_OPTION_OPERANDS, offsetof(status_command_t, dirs), "the run's directory",
           .required = true, .most = RUNS_MOST),
    MU_OPT(
        "--watch", NULL, MU_OPTION_FLAG, offsetof(status_command_t, watch),
        "repeat it every second until all have ended: on a terminal as a full screen (q leaves it), else a "
        "plain line when there is something new", ),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(status_command_t, json),
           "run.json on one line, with \"run\" (its path), \"alive\" (a launcher holds the directory) and "
           "\"account\" (where the time went) up to now added", ),
    MU_OPT(
        "--exit-status", NULL, MU_OPTION_FLAG, offsetof(status_command_t, exit_status),
        "end with the run's own exit code (of several the first that is not 0), and with 81 for a run whose "
        "launcher is gone before its end; a run that goes on counts as 0", ),
    MU_OPT_END};

const mu_command_t mu_status_command = {.name = "status",
                                        .summary = "how a run is going",
                                        .about = "How a run is going; of several runs a table.",
                                        .options = options,
                                        .exits = "0; 2 bad command line; 66 no run there; 65 its run.json is "
                                                 "damaged; 74 stdout cannot be written"};

static bool is_over(const watched_t *w)
{
    return mu_history_ended(w->history) || !mu_history_alive(w->history);
}

static bool all_over(const status_command_t *c)
{
    bool over = true;
    for (int i = 0; i < c->count; i++)
        over = over && is_over(&c->run[i]);
    return over;
}

static mu_status_t open_all(status_command_t *c)
{
    for (int i = 0; i < c->count; i++) {
        MU_TRY(mu_history_open(c->dirs.item[i], &c->run[i].history));
        mu_accounting(c->run[i].history, &c->run[i].account);
        c->run[i].shown_step = -1;
    }
    return MU_OK;
}

static mu_status_t update_all(status_command_t *c)
{
    for (int i = 0; i < c->count; i++) {
        MU_TRY(mu_history_update(c->run[i].history));
        mu_accounting(c->run[i].history, &c->run[i].account);
    }
    return MU_OK;
}

static mu_status_t print(mu_buf_t *text)
{
    mu_status_t status = text->len == 0 ? MU_OK : mu_stdio_write(text);
    mu_buf_release(text);
    return status;
}

/* Everything that is known now. */
static mu_status_t print_all(const status_command_t *c)
{
    mu_buf_t text = MU_BUF_INIT;
    if (c->count > 1 && !c->json)
        mu_status_head(0, &text);
    for (int i = 0; i < c->count; i++) {
        const watched_t *w = &c->run[i];
        if (c->json)
            mu_status_json(w->history, &w->account, &text);
        else if (c->count > 1)
            mu_status_row(w->history, &w->account, 0, &text);
        else
            mu_status_lines(w->history, &w->account, &text);
    }
    return print(&text);
}

/* A line of each run that has another step or state than its last line said. */
static mu_status_t print_news(status_command_t *c)
{
    mu_buf_t text = MU_BUF_INIT;
    for (int i = 0; i < c->count; i++) {
        watched_t *w = &c->run[i];
        const mu_run_state_t *s = mu_history_state(w->history);
        if (s->step == w->shown_step && strcmp(s->state, w->shown_state) == 0)
            continue;
        w->shown_step = s->step;
        snprintf(w->shown_state, sizeof w->shown_state, "%s", s->state);
        if (c->count > 1)
            mu_status_row(w->history, &w->account, 0, &text);
        else
            mu_status_line(w->history, &text);
    }
    return print(&text);
}

/* Lines to a file or a pipe: never a control byte. */
static mu_status_t watch_plainly(status_command_t *c)
{
    while (!all_over(c)) {
        MU_TRY(c->json ? print_all(c) : print_news(c));
        mu_sleep_ms(REPEAT_MS);
        MU_TRY(update_all(c));
    }
    return print_all(c);
}

static void draw(const status_command_t *c, const char *keys, mu_buf_t *out)
{
    int columns, rows;
    mu_terminal_size(&columns, &rows);
    if (c->count == 1) {
        mu_view_t view = {c->run[0].history,
                          &c->run[0].account,
                          mu_wall_seconds(),
                          columns,
                          rows,
                          mu_terminal_utf8(),
                          keys};
        mu_view_draw(&view, out);
        return;
    }
    mu_status_head(columns, out);
    for (int i = 0; i < c->count && i < rows - 2; i++)
        mu_status_row(c->run[i].history, &c->run[i].account, columns, out);
    mu_buf_addf(out, "%s", keys);
}

/* Runs that have ended stay on the screen until a key; when the last one ends meanwhile, the view ends with it. */
static mu_status_t watch_on_terminal(status_command_t *c)
{
    bool over = all_over(c);
    mu_status_t status = MU_OK;
    mu_terminal_event_t event = MU_TERMINAL_TIMEOUT;
    if (over && !mu_terminal_has_keys())
        return print_all(c);
    mu_terminal_open();
    while (status == MU_OK && event != MU_TERMINAL_QUIT && (over || !all_over(c))) {
        mu_buf_t lines = MU_BUF_INIT;
        draw(c, over ? " q: leave (ended)" : " q: leave; the run goes on", &lines);
        status = mu_terminal_draw(lines.data);
        mu_buf_release(&lines);
        event = mu_terminal_wait(REPEAT_MS);
        if (status == MU_OK)
            status = update_all(c);
    }
    mu_terminal_close();
    return status == MU_OK ? print_all(c) : status;
}

static mu_status_t show(status_command_t *c)
{
    MU_TRY(open_all(c));
    if (!c->watch)
        return print_all(c);
    return !c->json && mu_terminal_able() ? watch_on_terminal(c) : watch_plainly(c);
}

/* How the runs ended, as the launcher of each did. */
static mu_status_t status_of_runs(const status_command_t *c)
{
    for (int i = 0; i < c->count; i++) {
        const mu_history_t *history = c->run[i].history;
        const mu_run_state_t *s = mu_history_state(history);
        if (!is_over(&c->run[i]))
            continue;
        mu_status_t status = mu_history_ended(history) ? mu_status_from_exit((int)s->exit_code) : MU_DIED;
        if (status != MU_OK)
            return status;
    }
    return MU_OK;
}

mu_status_t mu_cmd_status(int argc, char **argv)
{
    status_command_t c = {.count = 0};
    bool help;
    mu_status_t status = mu_options_parse(&mu_status_command, argc, argv, &c, NULL, &help);
    if (status == MU_OK && !help) {
        c.count = c.dirs.count;
        status = show(&c);
        if (status == MU_OK && c.exit_status)
            status = status_of_runs(&c);
    }
    for (int i = 0; i < c.count; i++)
        mu_history_close(c.run[i].history);
    mu_options_release(&mu_status_command, &c);
    return status;
}
