/* What the tests of the configuration share: a folder of their own, files in it, and what was logged. */
#ifndef MU_TESTS_CONFIG_TEST_H
#define MU_TESTS_CONFIG_TEST_H

#include "common/config/config.h"
#include "common/file.h"
#include "common/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

static mu_buf_t said = MU_BUF_INIT; /* every line logged since the last hear() */

static inline void keep_line(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    mu_buf_addf(&said, "%s\n", line);
}

static inline void hear(void)
{
    mu_buf_clear(&said);
    mu_log_sink_set(keep_line, NULL);
}

static char test_folder[] = "/tmp/muster-config-XXXXXX";

/* Group set-up: makes the folder and goes there, so that places read "a.yml:1:2". */
static inline int enter_folder(void **state)
{
    (void)state;
    unsetenv("MODEL_PATH");
    unsetenv("DATA_PATH");
    return mkdtemp(test_folder) && chdir(test_folder) == 0 ? 0 : -1;
}

static inline int leave_folder(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&said);
    return chdir("/") == 0 && mu_remove_tree(test_folder) == MU_OK ? 0 : -1;
}

static inline void write_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

/* Loads a.yml with `text`, and overrides separated by spaces (or NULL). */
static inline mu_status_t load_text(const char *text, const char *overrides, mu_config_t **out)
{
    char *paths[] = {(char[]){"a.yml"}}, *all[32], *copy = mu_strdup(overrides ? overrides : ""),
         *rest = copy;
    int n = 0;
    for (char *word; (word = strsep(&rest, " "));)
        if (*word)
            all[n++] = word;
    write_text("a.yml", text);
    hear();
    mu_status_t status = mu_config_load(paths, 1, all, n, out);
    free(copy);
    return status;
}

/* The same, for a text that must be accepted. */
static inline mu_config_t *load_good(const char *text, const char *overrides)
{
    mu_config_t *config = NULL;
    mu_status_t status = load_text(text, overrides, &config);
    if (status != MU_OK)
        fail_msg("%s: %s", mu_status_name(status), said.data);
    return config;
}

static inline void assert_said(const char *what)
{
    if (!said.data || !strstr(said.data, what))
        fail_msg("wanted \"%s\" in:\n%s", what, said.data ? said.data : "(nothing was logged)");
}

/* A complete small model. */
#define SMALL_MODEL                                                                                          \
    "num_layers: 4\nhidden_size: 192\nnum_attention_heads: 6\nseq_length: 256\n"                             \
    "max_position_embeddings: 256\npos_emb: rotary\nrotary_pct: 0.25\n"
#define SMALL_RUN SMALL_MODEL "train_iters: 100\noptimizer: {type: Adam, params: {lr: 0.001}}\n"
#define SMALL     SMALL_RUN "train_micro_batch_size_per_gpu: 4\n"

/* The folder of published files beside the source tree; NULL when it is absent. */
static inline const char *published_folder(void)
{
    static const char *const places[] = {MU_SOURCE_DIR "/../shared/data/configs",
                                         MU_SOURCE_DIR "/../../shared/data/configs"};
    for (size_t i = 0; i < 2; i++)
        if (mu_is_dir(places[i]))
            return places[i];
    return NULL;
}

/* One or two of them (second: NULL), which must be accepted. */
static inline mu_config_t *load_published(const char *first, const char *second)
{
    char *paths[2] = {mu_path_join(published_folder(), first),
                      second ? mu_path_join(published_folder(), second) : NULL};
    mu_config_t *config = NULL;
    hear();
    mu_status_t status = mu_config_load(paths, second ? 2 : 1, NULL, 0, &config);
    if (status != MU_OK)
        fail_msg("%s: %s: %s", first, mu_status_name(status), said.data);
    free(paths[0]);
    free(paths[1]);
    return config;
}

#endif
