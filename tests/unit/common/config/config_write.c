/* The effective values on their way out and back in, and the table of keys that says which they are. */
#include "tests/unit/common/config/config_test.h"
#include "common/config/config_keys.h"
#include "common/digest.h"
#include <jansson.h>

/* config -> YAML -> config -> YAML: one digest. */
static void assert_round_trip(const mu_config_t *c)
{
    mu_buf_t plain = MU_BUF_INIT, commented = MU_BUF_INIT;
    char before[MU_DIGEST_HEX], after[MU_DIGEST_HEX];
    mu_config_t *back;
    mu_config_digest(c, before);
    mu_config_write_yaml(c, false, &plain);
    mu_config_write_yaml(c, true, &commented);
    const char *const texts[] = {plain.data, commented.data};
    for (int i = 0; i < 2; i++) {
        hear();
        if (mu_config_load_text("back", texts[i], &back) != MU_OK)
            fail_msg("%s\n%s", said.data, texts[i]);
        mu_config_digest(back, after);
        assert_string_equal(before, after);
        assert_int_equal(back->model_parallel_in_files, c->model_parallel_in_files);
        assert_memory_equal(&back->model, &c->model, offsetof(mu_model_t, init_std));
        mu_config_free(back);
    }
    mu_buf_release(&plain);
    mu_buf_release(&commented);
}

static void yaml_out_is_the_same_config_in(void **state)
{
    (void)state;
    mu_config_t *c =
        load_good(SMALL "expansion_factor: 3\nmuster: {ssh_args: '-o \"A b\" \\'}\nmin_lr: 1.0e-7\n"
                        "save: \"a\\u2028b\\x85\\tc\\ud7ff\\ufeff#d: e\"\ncheckpoint_factor: 7\n"
                        "warmup: 0.30000000000000004\ninit_method_std: 123.4567\neod_mask_loss: true\n"
                        "train_data_paths: ['x, y', z]\nvalid_data_paths: []\ntest_data_paths: [w]\n"
                        "train_data_weights: [0.1, 3]\nvalid_data_weights: []\neval_iters: 0\n"
                        "weight_by_num_documents: true\nweighted_sampler_alpha: 0.3\n",
                  "model_parallel_size=2");
    assert_round_trip(c);
    assert_int_equal(mu_config_resolve(c, &(mu_world_t){.workers = 6}), MU_OK);
    assert_int_equal(c->dp, 3);
    assert_round_trip(c);
    mu_config_free(c);

    c = load_good(SMALL "precision: fp16\n", NULL);
    char before[MU_DIGEST_HEX], after[MU_DIGEST_HEX];
    mu_config_digest(c, before);
    mu_config_free(c);
    c = load_good(SMALL "precision: fp16\n", "seed=1");
    mu_config_digest(c, after);
    assert_string_not_equal(before, after);
    mu_config_free(c);
}

static void published_files_survive_the_way_out_and_in(void **state)
{
    (void)state;
    static const char *const files[] = {"125M.yml",           "20B.yml",        "finetuning_configs-6-9B.yml",
                                        "pythia-70M.yml",     "slurm_125M.yml", "local_setup.yml",
                                        "text_generation.yml"};
    if (!published_folder()) {
        print_message("the published configurations are not here: skipped\n");
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        mu_config_t *c = load_published(files[i], NULL);
        assert_round_trip(c);
        mu_config_free(c);
    }
}

static void json_out_is_json(void **state)
{
    (void)state;
    mu_config_t *c = load_good(SMALL "save: \"q\\\"\\n\\u00e9\"\ncheckpoint_factor: 2\n", NULL);
    assert_int_equal(mu_config_resolve(c, &(mu_world_t){.workers = 2}), MU_OK);
    mu_buf_t out = MU_BUF_INIT;
    json_error_t error;
    mu_config_write_json(c, &out);
    json_t *top = json_loads(out.data, JSON_REJECT_DUPLICATES, &error);
    if (!top)
        fail_msg("%d:%d: %s\n%s", error.line, error.column, error.text, out.data);
    const char *text, *origin;
    double lr;
    int dp;
    assert_int_equal(json_unpack(top, "{s:{s:s,s:s}}", "save", "value", &text, "origin", &origin), 0);
    assert_string_equal(text, "q\"\n\xc3\xa9");
    assert_string_equal(origin, "a.yml:11:1");
    assert_int_equal(json_unpack(top, "{s:{s:f}}", "optimizer.params.lr", "value", &lr), 0);
    assert_true(lr == 0.001);
    assert_int_equal(json_unpack(top, "{s:{s:i}}", "dp", "value", &dp), 0);
    assert_int_equal(dp, 2);
    json_decref(top);
    mu_buf_release(&out);
    mu_config_free(c);
}

/* The table itself: presets have their type, names are unique, groups stand together. */
static void the_table_is_sound(void **state)
{
    (void)state;
    for (int i = 0; i < mu_key_count; i++) {
        const mu_key_t *key = &mu_keys[i];
        mu_yaml_t *node;
        assert_int_equal(mu_key_find(key->name), i);
        assert_non_null(key->doc);
        assert_true(strlen(key->doc) > 0);
        assert_int_equal(mu_yaml_parse_value(key->name, key->preset, strlen(key->preset), &node), MU_OK);
        hear();
        if (mu_key_check(key, node, key->name) != MU_OK)
            fail_msg("%s", said.data);
        mu_yaml_free(node);
    }
    mu_buf_t keys = MU_BUF_INIT;
    int lines = 0;
    mu_config_write_keys(&keys);
    for (const char *p = keys.data; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, mu_key_count);
    mu_buf_release(&keys);
}

static void the_manual_lists_the_keys_of_the_table(void **state)
{
    (void)state;
    mu_buf_t manual = MU_BUF_INIT, keys = MU_BUF_INIT;
    assert_int_equal(mu_file_read(MU_SOURCE_DIR "/docs/config.md", 1 << 20, &manual), MU_OK);
    mu_config_write_keys(&keys);
    if (!strstr(manual.data, keys.data))
        fail_msg("docs/config.md: its list is not what `muster config --keys` prints: copy it anew");
    mu_buf_release(&manual);
    mu_buf_release(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_out_is_the_same_config_in),
        cmocka_unit_test(published_files_survive_the_way_out_and_in),
        cmocka_unit_test(json_out_is_json),
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(the_manual_lists_the_keys_of_the_table),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
