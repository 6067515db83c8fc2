#include "launcher/cmd/cmd.h"
#include "common/file.h"
#include "common/log.h"
#include "common/stdio_setup.h"
#include "launcher/report/compare.h"

#include <errno.h>

typedef struct compare_command {
    mu_words_t dirs;
    const char *html;
} compare_command_t;

static const mu_option_t options[] = {
    MU_OPT("RUN", NULL, MU_OPTION_OPERANDS, offsetof(compare_command_t, dirs), "the run's directory",
           .required = true, .most = MU_COMPARE_MOST),
    MU_OPT("--html", "FILE", MU_OPTION_TEXT, offsetof(compare_command_t, html),
           "also write a page with curves, which needs no network", .choices = "FILE"),
    MU_OPT_END};

const mu_command_t mu_compare_command = {
    .name = "compare",
    .summary = "runs side by side, as a table and as a page with curves",
    .about = "Runs side by side: loss, validation loss, throughput, where the time went, and what differs in "
             "config, data and source. Of one run: its report.",
    .options = options,
    .exits = "0; 2 bad command line; 66 no run there; 65 its files are damaged; 74 FILE cannot be written"};

static mu_status_t compare(const compare_command_t *c, const mu_summary_t *runs)
{
    mu_buf_t text = MU_BUF_INIT, page = MU_BUF_INIT;
    mu_compare_text(runs, c->dirs.count, &text);
    mu_status_t status = mu_stdio_write(&text);
    if (status == MU_OK && c->html) {
        mu_compare_html(runs, c->dirs.count, &page);
        status = mu_file_replace(c->html, page.data, page.len, 0644);
    }
    mu_buf_release(&text);
    mu_buf_release(&page);
    return status;
}

mu_status_t mu_cmd_compare(int argc, char **argv)
{
    compare_command_t c = {.html = NULL};
    mu_summary_t runs[MU_COMPARE_MOST];
    int opened = 0;
    bool help;
    mu_status_t status = mu_options_parse(&mu_compare_command, argc, argv, &c, NULL, &help);
    if (status != MU_OK || help)
        goto out;
    while (status == MU_OK && opened < c.dirs.count) {
        status = mu_summary_open(c.dirs.item[opened], &runs[opened]);
        opened += status == MU_OK;
    }
    if (status == MU_OK)
        status = compare(&c, runs);
    while (opened > 0)
        mu_summary_close(&runs[--opened]);
out:
    mu_options_release(&mu_compare_command, &c);
    return status;
}
