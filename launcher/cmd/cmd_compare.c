#include "launcher/cmd/cmd_compare.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/report/compare.h"

#include <errno.h>

static const char usage[] = "usage: muster compare RUN... [--html FILE]\n"
                            "\n"
                            "Runs side by side: loss, validation loss, throughput, where the time went, and "
                            "what differs in config, data\n"
                            "and source. Of one run: its report. --html FILE also writes a page with curves, "
                            "which needs no network.\n"
                            "\n"
                            "exit codes: 0; 2 bad command line; 66 no run there; 65 its files are damaged; "
                            "74 FILE cannot be written\n";

typedef struct compare_command {
    const char *dir[MU_COMPARE_MOST], *html;
    int count;
} compare_command_t;

static mu_status_t parse(int argc, char **argv, compare_command_t *c)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--html") == 0) {
            if (++i == argc)
                return mu_fail(MU_USAGE, "compare: --html needs a FILE: see muster compare --help");
            c->html = argv[i];
        } else if (argv[i][0] == '-') {
            return mu_fail(MU_USAGE, "compare: no option '%s': see muster compare --help", argv[i]);
        } else if (c->count == MU_COMPARE_MOST) {
            return mu_fail(MU_USAGE, "compare: more than %d runs: see muster compare --help",
                           MU_COMPARE_MOST);
        } else {
            c->dir[c->count++] = argv[i];
        }
    }
    return c->count > 0 ? MU_OK : mu_fail(MU_USAGE, "compare: no RUN given: see muster compare --help");
}

static mu_status_t compare(const compare_command_t *c, const mu_summary_t *runs)
{
    mu_buf_t text = MU_BUF_INIT, page = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    mu_compare_text(runs, c->count, &text);
    if (fputs(text.data, stdout) < 0 || fflush(stdout) != 0)
        status = mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
    if (status == MU_OK && c->html) {
        mu_compare_html(runs, c->count, &page);
        status = mu_file_replace(c->html, page.data, page.len, 0644);
    }
    mu_buf_release(&text);
    mu_buf_release(&page);
    return status;
}

mu_status_t mu_cmd_compare(int argc, char **argv)
{
    compare_command_t c = {.count = 0};
    mu_summary_t runs[MU_COMPARE_MOST];
    mu_status_t status = MU_OK;
    int opened = 0;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return MU_OK;
        }
    MU_TRY(parse(argc, argv, &c));
    while (status == MU_OK && opened < c.count) {
        status = mu_summary_open(c.dir[opened], &runs[opened]);
        opened += status == MU_OK;
    }
    if (status == MU_OK)
        status = compare(&c, runs);
    while (opened > 0)
        mu_summary_close(&runs[--opened]);
    return status;
}
