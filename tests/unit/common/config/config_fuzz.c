/*
 * Mutated configurations: whatever the bytes, the reader ends with a status of its own, says why, and a
 * config that it accepts survives the way out and in. The mutations are the same on every run.
 */
#include "tests/unit/common/config/config_test.h"
#include "common/digest.h"
#include "common/config/yaml.h"
#include <dirent.h>

enum { ROUNDS = 4000, SEEDS = 16 };

static uint64_t state_of_random = 1;

static uint64_t draw(uint64_t below)
{
    state_of_random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = state_of_random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static void splice(mu_buf_t *text, size_t at, size_t cut, const char *in, size_t n)
{
    mu_buf_t out = MU_BUF_INIT;
    mu_buf_add(&out, text->data, at);
    mu_buf_add(&out, in, n);
    mu_buf_add(&out, text->data + at + cut, text->len - at - cut);
    mu_buf_release(text);
    *text = out;
}

static void mutate(mu_buf_t *text)
{
    static const char *const bits[] = {
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        ": ",
        "\n",
        "\t",
        "  ",
        "- ",
        "#",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "!x ",
        "|\n",
        "? ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "null",
        "true",
        "-1",
        "0",
        "1e9",
        "99999999999999999999",
        ".nan",
        "\\x",
        "\xff",
        "\xc2",
        "\xe2\x80\xa8",
        "muster",
        "fp16",
        "optimizer: {params: {lr: 1.0e-3}}",
        "gas: 3\n",
        "1_000",
    };
    size_t at = draw(text->len + 1), left = text->len - at;
    const char *bit = bits[draw(sizeof bits / sizeof *bits)];
    switch (draw(6)) {
    case 0: /* a byte becomes another */
        if (left)
            text->data[at] = (char)draw(256);
        break;
    case 1: /* a piece is lost */
        splice(text, at, draw(left < 20 ? left + 1 : 20), "", 0);
        break;
    case 2: /* a piece is doubled */
        if (left) {
            size_t n = 1 + draw(left < 80 ? left : 80);
            char *piece = mu_format("%.*s", (int)n, text->data + at);
            splice(text, at, 0, piece, strlen(piece));
            free(piece);
        }
        break;
    case 3: /* the end is lost */
        if (draw(4) == 0)
            splice(text, at, left, "", 0);
        break;
    default: /* something that means something is put in, in place of something */
        splice(text, at, draw(left < 4 ? left + 1 : 4), bit, strlen(bit));
    }
}

/* True when the text was accepted. */
static bool try(const mu_buf_t *text)
{
    mu_config_t *config = NULL, *back = NULL;
    mu_buf_t out = MU_BUF_INIT;
    char before[MU_DIGEST_HEX], after[MU_DIGEST_HEX];
    hear();
    mu_status_t status = mu_config_load_text("f.yml", text->data, &config);
    if (status != MU_OK) {
        if ((status != MU_CONFIG && status != MU_DATA) || !strstr(said.data, "f.yml:"))
            fail_msg("%s: %s\nfor:\n%s", mu_status_name(status), said.data, text->data);
        return false;
    }
    mu_world_t world = {.workers = (int)draw(9), .slots_per_host = (int)draw(3)};
    status = mu_config_resolve(config, &world);
    if (status != MU_OK && status != MU_CONFIG)
        fail_msg("%s: %s\nfor:\n%s", mu_status_name(status), said.data, text->data);
    mu_config_notes(config);
    mu_config_write_json(config, &out);
    mu_buf_clear(&out);
    mu_config_write_yaml(config, true, &out);
    mu_config_digest(config, before);
    if (mu_config_load_text("back", out.data, &back) != MU_OK)
        fail_msg("not read back: %s\n%s\nfrom:\n%s", said.data, out.data, text->data);
    mu_config_digest(back, after);
    assert_string_equal(before, after);
    mu_config_free(back);
    mu_config_free(config);
    mu_buf_release(&out);
    return true;
}

static int add_folder(const char *folder, mu_buf_t *seeds, int n)
{
    struct dirent **names = NULL;
    int count = folder ? scandir(folder, &names, NULL, alphasort) : 0;
    for (int i = 0; i < count; i++) {
        char *path = mu_path_join(folder, names[i]->d_name);
        if (n < SEEDS && strstr(names[i]->d_name, ".yml") &&
            mu_file_read(path, MU_YAML_BYTES, &seeds[n]) == MU_OK)
            n++;
        free(path);
        free(names[i]);
    }
    free(names);
    return n;
}

static void mutations_never_break_the_reader(void **state)
{
    (void)state;
    mu_buf_t seeds[SEEDS] = {MU_BUF_INIT};
    int accepted = 0, n = add_folder(MU_SOURCE_DIR "/configs", seeds, 0);
    n = add_folder(published_folder(), seeds, n);
    assert_true(n > 0);
    for (int i = 0; i < ROUNDS; i++) {
        mu_buf_t text = MU_BUF_INIT;
        const mu_buf_t *seed = &seeds[i % n];
        mu_buf_add(&text, seed->data, seed->len);
        for (uint64_t changes = 1 + draw(4); changes > 0; changes--)
            mutate(&text);
        accepted += try(&text);
        mu_buf_release(&text);
    }
    /* both ways out are taken, or this tests nothing */
    if (accepted < ROUNDS / 50 || accepted > ROUNDS / 2 + ROUNDS / 4)
        fail_msg("%d of %d were accepted", accepted, ROUNDS);
    print_message("%d of %d were accepted\n", accepted, ROUNDS);
    for (int i = 0; i < n; i++)
        mu_buf_release(&seeds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mutations_never_break_the_reader)};
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
