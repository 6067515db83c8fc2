/* Conversations from JSON, chat templates, and which tokens are answers. */
#include "dataset/chat/chat_ids.h"
#include "tests/unit/dataset/data_support.h"

static mu_tokenizer_t *tok;

static int up(void **state)
{
    char *const specials[] = {
        "<|im_start|>",        "<|im_end|>",        "<s>",       "</s>", "<|begin_of_text|>",
        "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
    if (support_up(state) != 0 ||
        mu_tokenizer_load(MU_SOURCE_DIR "/tests/data/tokenizer-small.json", &tok) != MU_OK)
        return -1;
    mu_status_t status = mu_tokenizer_add_specials(tok, specials, 8);
    mu_tokenizer_set_eod(tok, mu_tokenizer_vocab(tok) - 5); /* </s> */
    return status == MU_OK ? 0 : -1;
}

static int down(void **state)
{
    mu_tokenizer_free(tok);
    return support_down(state);
}

/* ---- reading ---- */

static const char *read_chat(const char *line, mu_chat_t *chat)
{
    static char why[MU_CHAT_WHY];
    size_t column;
    return mu_chat_read(line, strlen(line), chat, why, &column) ? NULL : why;
}

static void assert_message(const mu_chat_t *chat, int i, mu_chat_role_t role, const char *text)
{
    assert_true(i < chat->count);
    assert_int_equal(chat->message[i].role, role);
    assert_int_equal(chat->message[i].n, strlen(text));
    assert_memory_equal(chat->text.data + chat->message[i].at, text, strlen(text));
}

static void forms_of_records(void **state)
{
    mu_chat_t chat = MU_CHAT_INIT;
    (void)state;
    assert_null(read_chat(
        "{\"messages\": [{\"role\": \"developer\", \"content\": \"S\"}, {\"role\": \"user\", "
        "\"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", \"text\": \"b\"}]}, "
        "{\"role\": \"assistant\", \"content\": \"c\", \"weight\": 0}], \"id\": 7}",
        &chat));
    assert_int_equal(chat.count, 3);
    assert_message(&chat, 0, MU_CHAT_SYSTEM, "S");
    assert_message(&chat, 1, MU_CHAT_USER, "ab");
    assert_message(&chat, 2, MU_CHAT_ASSISTANT, "c");
    assert_true(chat.message[2].untrained && !chat.message[1].untrained);
    assert_null(read_chat("{\"system\": \"s\", \"conversations\": [{\"from\": \"human\", \"value\": \"h\"}, "
                          "{\"from\": \"gpt\", "
                          "\"value\": \"g\"}]}",
                          &chat));
    assert_int_equal(chat.count, 3);
    assert_message(&chat, 0, MU_CHAT_SYSTEM, "s");
    assert_message(&chat, 2, MU_CHAT_ASSISTANT, "g");
    assert_null(read_chat("{\"prompt\": \"p\", \"completion\": \"\"}", &chat));
    assert_message(&chat, 1, MU_CHAT_ASSISTANT, "");
    assert_null(
        read_chat("{\"prompt\": [{\"role\": \"user\", \"content\": \"p\"}], \"completion\": [{\"role\": "
                  "\"assistant\", \"content\": \"q\"}]}",
                  &chat));
    assert_int_equal(chat.count, 2);
    mu_chat_release(&chat);
}

static void bad_records(void **state)
{
    static const char *const bad[][2] = {
        {"{\"messages\": [", "not a JSON object"},
        {"[]", "one JSON object"},
        {"{\"text\": \"x\"}", "no 'messages'"},
        {"{\"prompt\": \"x\"}", "no 'messages'"},
        {"{\"messages\": {}}", "must be a list"},
        {"{\"messages\": []}", "no messages"},
        {"{\"messages\": [1]}", "message 1 is no object"},
        {"{\"messages\": [{\"content\": \"x\"}]}", "has no role"},
        {"{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}", "'tool'"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": null}]}", "must be a string"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}", "no text"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"x\", \"weight\": 2}]}", "weight"},
        {"{\"prompt\": 1, \"completion\": \"x\"}", "'prompt'"},
        {"{\"messages\": [], \"messages\": []}", "duplicate"},
    };
    mu_chat_t chat = MU_CHAT_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = read_chat(bad[i][0], &chat);
        if (!why || !strstr(why, bad[i][1]))
            fail_msg("%s: wanted '%s', found '%s'", bad[i][0], bad[i][1], why ? why : "nothing wrong");
    }
    mu_chat_release(&chat);
}

/* ---- templates ---- */

static mu_chat_template_t *find(const mu_chat_choice_t *choice, const mu_chat_files_t *files)
{
    mu_chat_template_t *template = NULL;
    assert_int_equal(mu_chat_template_find(choice, files, tok, &template), MU_OK);
    return template;
}

static void assert_renders(const mu_chat_choice_t *choice, const char *line, bool prompt, const char *wanted)
{
    mu_chat_template_t *template = find(choice, NULL);
    mu_chat_t chat = MU_CHAT_INIT;
    mu_chat_text_t text = MU_CHAT_TEXT_INIT;
    char why[MU_CHAT_WHY];
    assert_null(read_chat(line, &chat));
    assert_true(mu_chat_render(template, &chat, prompt, &text, why));
    assert_string_equal(text.text.data, wanted);
    mu_chat_text_release(&text);
    mu_chat_release(&chat);
    mu_chat_template_free(template);
}

#define TALK                                                                                                 \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"  hi\\n\"}, {\"role\": \"assistant\", "             \
    "\"content\": "                                                                                          \
    "\"yes\"}, {\"role\": \"user\", \"content\": \"and?\"}]}"

static void renders(void **state)
{
    (void)state;
    assert_renders(&(mu_chat_choice_t){.name = "chatml"}, TALK, true,
                   "<|im_start|>user\n  hi\n<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
                   "<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n");
    assert_renders(&(mu_chat_choice_t){.name = "chatml", .system = "Be kind"},
                   "{\"prompt\": \"a\", \"completion\": \"b\"}", false,
                   "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
                   "<|im_start|>assistant\nb<|im_end|>\n");
    assert_renders(&(mu_chat_choice_t){.name = "llama3"}, TALK, true,
                   "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
                   "<|start_header_id|>assistant<|end_header_id|>\n\nyes<|eot_id|>"
                   "<|start_header_id|>user<|end_header_id|>\n\nand?<|eot_id|>"
                   "<|start_header_id|>assistant<|end_header_id|>\n\n");
    assert_renders(&(mu_chat_choice_t){.name = "mistral"}, TALK, true,
                   "<s>[INST]   hi\n [/INST]yes</s>[INST] and? [/INST]");
    assert_renders(&(mu_chat_choice_t){.name = "zephyr"}, TALK, true,
                   "<|user|>\n  hi\n</s>\n<|assistant|>\nyes</s>\n<|user|>\nand?</s>\n<|assistant|>\n");
    assert_renders(&(mu_chat_choice_t){.name = "plain", .prefix = {NULL, "Q: ", NULL}}, TALK, true,
                   "Q:   hi\n\nAssistant: yes</s>Q: and?\nAssistant:");
}

/* Python's strip() knows more spaces than ASCII's. */
static void trims_as_python(void **state)
{
    (void)state;
    assert_renders(
        &(mu_chat_choice_t){.name = "llama3"},
        "{\"messages\": [{\"role\": \"user\", \"content\": \"\\u3000\\u00a0 x y\\u2003\\u0085\\u001c\"}]}",
        false, "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nx y<|eot_id|>");
}

static void what_a_template_cannot_do(void **state)
{
    static const char *const lines[] = {"{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}]}",
                                        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"s\"}]}"};
    mu_chat_template_t *template = find(&(mu_chat_choice_t){.name = "mistral"}, NULL);
    mu_chat_t chat = MU_CHAT_INIT;
    mu_chat_text_t text = MU_CHAT_TEXT_INIT;
    char why[MU_CHAT_WHY];
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_null(read_chat(lines[i], &chat));
        assert_false(mu_chat_render(template, &chat, false, &text, why));
        assert_non_null(strstr(why, i == 0 ? "system" : "alternate"));
    }
    assert_null(read_chat("{\"prompt\": \"a </s> b\", \"completion\": \"c\"}", &chat));
    assert_true(mu_chat_holds_tokens(template, &chat));
    assert_null(read_chat("{\"prompt\": \"a < /s> b\", \"completion\": \"c\"}", &chat));
    assert_false(mu_chat_holds_tokens(template, &chat));
    mu_chat_text_release(&text);
    mu_chat_release(&chat);
    mu_chat_template_free(template);
}

/* ---- which template ---- */

static const char chatml[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static void known_by_its_text(void **state)
{
    mu_chat_files_t files;
    mu_chat_choice_t nothing = {0};
    (void)state;
    char *path = write_file("tokenizer.json", "{}", 2);
    json_t *config = json_pack("{s:s, s:{s:s}}", "chat_template", chatml, "bos_token", "content", "<s>");
    char *text = json_dumps(config, 0);
    write_file("tokenizer_config.json", text, strlen(text));
    free(text);
    json_decref(config);
    assert_int_equal(mu_chat_files_read(path, &files), MU_OK);
    assert_string_equal(files.bos, "<s>");
    mu_chat_template_t *template = find(&nothing, &files);
    assert_string_equal(mu_chat_template_choice(template).name, "chatml");
    assert_string_equal(mu_chat_template_stop(template), "<|im_end|>");
    mu_chat_template_free(template);
    mu_chat_files_release(&files);

    /* a file of its own counts more, and one that is nearly the same is another one */
    char *other = mu_format("{# other #}%s", chatml);
    write_file("chat_template.jinja", other, strlen(other));
    free(other);
    assert_int_equal(mu_chat_files_read(path, &files), MU_OK);
    assert_int_equal(mu_chat_template_find(&nothing, &files, tok, &template), MU_CONFIG);
    assert_said("chat_template.jinja");
    assert_said("chatml, llama3, mistral");
    mu_chat_files_release(&files);
}

static void known_in_a_checkpoint(void **state)
{
    mu_chat_files_t files;
    mu_chat_choice_t nothing = {0};
    (void)state;
    json_t *root = json_pack("{s:{s:s}}", "files", "chat_template.jinja", chatml);
    char *text = json_dumps(root, 0);
    mu_chat_files_take("RUN", text, &files);
    mu_chat_template_t *template = find(&nothing, &files);
    assert_string_equal(mu_chat_template_choice(template).name, "chatml");
    mu_chat_template_free(template);
    mu_chat_files_release(&files);
    mu_chat_files_take("RUN", NULL, &files);
    assert_int_equal(mu_chat_template_find(&nothing, &files, tok, &template), MU_CONFIG);
    assert_said("no chat template");
    free(text);
    json_decref(root);
}

static void unknown_names(void **state)
{
    mu_chat_template_t *template = NULL;
    mu_tokenizer_t *bare;
    (void)state;
    assert_int_equal(mu_chat_template_find(&(mu_chat_choice_t){.name = "chatlm"}, NULL, tok, &template),
                     MU_CONFIG);
    assert_said("chatlm");
    assert_said("did you mean chatml");
    assert_int_equal(mu_tokenizer_load(MU_SOURCE_DIR "/tests/data/tokenizer-small.json", &bare), MU_OK);
    assert_int_equal(mu_chat_template_find(&(mu_chat_choice_t){.name = "chatml"}, NULL, bare, &template),
                     MU_CONFIG);
    assert_said("--special '<|im_start|>'");
    mu_tokenizer_free(bare);
}

/* ---- labels ---- */

typedef struct labelled {
    mu_ids_t ids;
    mu_buf_t labels;
    size_t bytes, whole;
} labelled_t;

static labelled_t encode(const char *line, mu_loss_on_t on, int64_t most)
{
    labelled_t out = {MU_IDS_INIT, MU_BUF_INIT, 0, 0};
    mu_chat_template_t *template = find(&(mu_chat_choice_t){.name = "chatml"}, NULL);
    mu_encoder_t *encoder = mu_encoder_new(tok);
    mu_chat_t chat = MU_CHAT_INIT;
    mu_chat_text_t text = MU_CHAT_TEXT_INIT;
    char why[MU_CHAT_WHY];
    assert_null(read_chat(line, &chat));
    assert_true(mu_chat_render(template, &chat, false, &text, why));
    mu_chat_marks_t marks = {text.answers, text.turns, text.trained, text.count};
    assert_int_equal(mu_chat_encode(encoder, tok, text.text.data, text.text.len, &marks, on, most, &out.ids,
                                    &out.labels, &out.bytes),
                     MU_OK);
    assert_int_equal(out.ids.len, out.labels.len);
    out.whole = text.text.len;
    mu_encoder_free(encoder);
    mu_chat_text_release(&text);
    mu_chat_release(&chat);
    mu_chat_template_free(template);
    return out;
}

/* The text of the tokens that count. */
static void assert_counts(labelled_t *l, const char *wanted)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_reserve(&text, 0);
    for (size_t i = 0; i < l->ids.len; i++)
        if (l->labels.data[i])
            assert_int_equal(mu_tokenizer_decode(tok, &l->ids.data[i], 1, &text), MU_OK);
    assert_string_equal(text.data ? text.data : "", wanted);
    mu_buf_release(&text);
    mu_ids_release(&l->ids);
    mu_buf_release(&l->labels);
}

#define TURNS                                                                                                \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"one two\"}, {\"role\": \"assistant\", "             \
    "\"content\": "                                                                                          \
    "\"three four\"}, {\"role\": \"user\", \"content\": \"five\"}, {\"role\": \"assistant\", \"content\": "  \
    "\"six \\u00e9\"}]}"

static void what_counts(void **state)
{
    labelled_t l;
    (void)state;
    l = encode(TURNS, MU_LOSS_ON_ASSISTANT, 0);
    assert_counts(&l, "three four<|im_end|>six \xC3\xA9<|im_end|>");
    l = encode(TURNS, MU_LOSS_ON_COMPLETION, 0);
    assert_counts(&l, "six \xC3\xA9<|im_end|>");
    l = encode("{\"prompt\": \"a\", \"completion\": \"b\"}", MU_LOSS_ON_ALL, 0);
    assert_counts(&l, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n");
    l = encode("{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"weight\": 0}, {\"role\": "
               "\"assistant\", "
               "\"content\": \"b\"}]}",
               MU_LOSS_ON_ASSISTANT, 0);
    assert_counts(&l, "b<|im_end|>");
}

static void cut_at_a_turn(void **state)
{
    labelled_t whole = encode(TURNS, MU_LOSS_ON_ASSISTANT, 0), l;
    int64_t n = (int64_t)whole.ids.len;
    (void)state;
    mu_ids_release(&whole.ids);
    mu_buf_release(&whole.labels);
    l = encode(TURNS, MU_LOSS_ON_ASSISTANT, n);
    assert_int_equal(l.bytes, l.whole);
    assert_counts(&l, "three four<|im_end|>six \xC3\xA9<|im_end|>");
    l = encode(TURNS, MU_LOSS_ON_ASSISTANT, n - 1);
    assert_in_range(l.bytes, 1, l.whole - 1);
    assert_counts(&l, "three four<|im_end|>");
    l = encode(TURNS, MU_LOSS_ON_ASSISTANT, 4); /* not even one turn */
    assert_int_equal(l.bytes, 0);
    assert_int_equal(l.ids.len, 0);
    assert_counts(&l, "");
    l = encode(TURNS, MU_LOSS_ON_COMPLETION, n - 1); /* no completion in what fits */
    assert_int_equal(l.ids.len, 0);
    assert_counts(&l, "");
}

/* A normalizer changes the text, so the tokens do not spell it. */
static void through_a_normalizer(void **state)
{
    static const char file[] =
        "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [{\"id\": 3, "
        "\"content\": \"<|im_start|>\", "
        "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": "
        "true}, {\"id\": 4, "
        "\"content\": \"<|im_end|>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
        "\"normalized\": false, "
        "\"special\": true}], \"normalizer\": {\"type\": \"Lowercase\"}, \"pre_tokenizer\": {\"type\": "
        "\"ByteLevel\", "
        "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, \"post_processor\": "
        "null, \"decoder\": {\"type\": "
        "\"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, \"model\": "
        "{\"type\": \"BPE\", "
        "\"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null, "
        "\"end_of_word_suffix\": null, "
        "\"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false, \"vocab\": {\"a\": 0, "
        "\"b\": 1, \"\\u010a\": 2, \"s\": 5, "
        "\"u\": 6, \"e\": 7, \"r\": 8, \"i\": 9, \"t\": 10, \"n\": 11}, \"merges\": []}}";
    mu_tokenizer_t *lower;
    mu_ids_t ids = MU_IDS_INIT;
    mu_buf_t labels = MU_BUF_INIT;
    mu_chat_t chat = MU_CHAT_INIT;
    mu_chat_text_t text = MU_CHAT_TEXT_INIT;
    mu_chat_template_t *template = NULL;
    char why[MU_CHAT_WHY];
    size_t kept;
    (void)state;
    assert_int_equal(mu_tokenizer_load(write_file("tokenizer.json", file, sizeof file - 1), &lower), MU_OK);
    assert_int_equal(mu_chat_template_find(&(mu_chat_choice_t){.name = "chatml"}, NULL, lower, &template),
                     MU_OK);
    assert_null(read_chat("{\"prompt\": \"A\", \"completion\": \"ABBA\"}", &chat));
    assert_true(mu_chat_render(template, &chat, false, &text, why));
    mu_encoder_t *encoder = mu_encoder_new(lower);
    mu_chat_marks_t marks = {text.answers, text.turns, text.trained, text.count};
    assert_int_equal(mu_chat_encode(encoder, lower, text.text.data, text.text.len, &marks,
                                    MU_LOSS_ON_ASSISTANT, 0, &ids, &labels, &kept),
                     MU_OK);
    /* <s> user \n a <e> \n <s> assistant \n | a b b a <e> | \n */
    assert_int_equal(labels.len, 26);
    for (size_t i = 0; i < labels.len; i++)
        assert_int_equal(labels.data[i], i >= 20 && i < 25);
    mu_encoder_free(encoder);
    mu_tokenizer_free(lower);
    mu_chat_template_free(template);
    mu_chat_text_release(&text);
    mu_chat_release(&chat);
    mu_ids_release(&ids);
    mu_buf_release(&labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(forms_of_records, up, down),
        cmocka_unit_test_setup_teardown(bad_records, up, down),
        cmocka_unit_test_setup_teardown(renders, up, down),
        cmocka_unit_test_setup_teardown(trims_as_python, up, down),
        cmocka_unit_test_setup_teardown(what_a_template_cannot_do, up, down),
        cmocka_unit_test_setup_teardown(known_by_its_text, up, down),
        cmocka_unit_test_setup_teardown(known_in_a_checkpoint, up, down),
        cmocka_unit_test_setup_teardown(unknown_names, up, down),
        cmocka_unit_test_setup_teardown(what_counts, up, down),
        cmocka_unit_test_setup_teardown(cut_at_a_turn, up, down),
        cmocka_unit_test_setup_teardown(through_a_normalizer, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
