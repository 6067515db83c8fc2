/* Configurations that must be refused: the status, and a message that holds the place and what to do. */
#include "tests/unit/common/config/config_test.h"
#include <sys/resource.h>
#include <sys/stat.h>

typedef struct bad {
    const char *text, *overrides;
    mu_status_t status;
    const char *said;
} bad_t;

static void refuse(const bad_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mu_config_t *config = NULL;
        mu_status_t status = load_text(rows[i].text, rows[i].overrides, &config);
        if (status == MU_OK) {
            status = mu_config_resolve(config, &(mu_world_t){0});
            mu_config_free(config);
        }
        if (status != rows[i].status)
            fail_msg("status %s instead of %s for:\n%s\nsaid: %s", mu_status_name(status),
                     mu_status_name(rows[i].status), rows[i].text, said.data ? said.data : "");
        assert_said(rows[i].said);
    }
}

#define REFUSE(rows) refuse(rows, sizeof(rows) / sizeof *(rows))

static void yaml_beyond_the_subset_is_refused(void **state)
{
    (void)state;
    static const bad_t rows[] = {
        {"", NULL, MU_CONFIG, "a.yml:1:1: holds no keys"},
        {"# nothing\n", NULL, MU_CONFIG, "a.yml:1:1: holds no keys"},
        {"[1, 2]", NULL, MU_CONFIG, "a.yml:1:1: a list where"},
        {"just text", NULL, MU_CONFIG, "a.yml:1:1: a text where"},
        {"num_layers: 2\n\thidden_size: 4\n", NULL, MU_CONFIG, "a.yml:2:1: this line is indented with a tab"},
        {"muster:\n\tready_timeout: 4\n", NULL, MU_CONFIG, "a.yml:2:1: this line is indented with a tab"},
        {"{\"num_layers\": 2\n \"hidden_size\": 4}", NULL, MU_CONFIG,
         "a.yml:1:16: this runs on into line 2: a ','"},
        {"{\"norm\": \"layernorm\" \"hidden_size\": 4}", NULL, MU_CONFIG, "a.yml:1:22: a ',' is missing"},
        {"{\"norm\": \"layernorm\"\n \"hidden_size\": 4}", NULL, MU_CONFIG, "a.yml:2:2: a ',' is missing"},
        {"{\"num_layers\": 2,\n", NULL, MU_CONFIG, "a.yml:2:1: "},
        {"num_layers: 2\n  hidden_size: 4\n", NULL, MU_CONFIG, "a.yml:1:13: this runs on into line 2"},
        {"save: a: b\n", NULL, MU_CONFIG, "a.yml:1:8: this ':' cannot stand here"},
        {"num_layers: 2\nhidden_size\nseq_length: 3\n", NULL, MU_CONFIG, "a.yml:2:1: no ':' follows"},
        {"num_layers: 2\n}\n", NULL, MU_CONFIG, "a.yml:2:1: the indentation does not match"},
        {"save: @here\n", NULL, MU_CONFIG, "a.yml:1:7: text cannot begin with '@'"},
        {"save: &here x\n", NULL, MU_CONFIG, "a.yml:1:7: anchors (&) are not supported"},
        {"optimizer: &o {type: Adam}\n", NULL, MU_CONFIG, "a.yml:1:12: anchors (&) are not supported"},
        {"save: *here\n", NULL, MU_CONFIG, "a.yml:1:7: aliases (*here) are not supported"},
        {"<<: {num_layers: 2}\n", NULL, MU_CONFIG, "a.yml:1:1: merge keys (<<) are not supported"},
        {"num_layers: !!int 2\n", NULL, MU_CONFIG, "a.yml:1:13: tags (!) are not supported"},
        {"muster: !x {}\n", NULL, MU_CONFIG, "a.yml:1:9: tags (!) are not supported"},
        {"num_layers: 2\n---\nnum_layers: 3\n", NULL, MU_CONFIG, "a.yml:2:1: a second document"},
        {"{num_layers: 2}\n}\n", NULL, MU_CONFIG, "a.yml:2:1: something stands after the end"},
        {"[a, b]: 3\n", NULL, MU_CONFIG, "a.yml:1:1: a key must be text, not a list"},
        {": 3\n", NULL, MU_CONFIG, "a.yml:1:1: "},
        {"{: 3}\n", NULL, MU_CONFIG, "a.yml:1:2: a key or a value is missing"},
        {"\"\": 3\n", NULL, MU_CONFIG, "a.yml:1:1: a key is missing"},
        {"save: \"a\\0b\"\n", NULL, MU_CONFIG, "a.yml:1:7: this text holds a NUL"},
        {"save: \"abc\xff\"\n", NULL, MU_DATA, "a.yml:1:11: byte 0xff is not UTF-8"},
        {"# \xc3\xa9\nsave: \xed\xa0\x80\n", NULL, MU_DATA, "a.yml:2:7: byte 0xed is not UTF-8"},
        {"save: \xc0\xaf\n", NULL, MU_DATA, "a.yml:1:7: byte 0xc0 is not UTF-8"},
        {"save: a\x01\n", NULL, MU_DATA, "a.yml:1:8: control character U+0001"},
        {"num_layers: 2\nnum_layers: 2\n", NULL, MU_CONFIG,
         "a.yml:2:1: 'num_layers' was given already at a.yml:1:1"},
        {"num_layers: 2\nnum-layers: 2\n", NULL, MU_CONFIG,
         "a.yml:2:1: 'num-layers' was given already at a.yml:1:1 (as 'num_layers')"},
        {"muster: {ready_timeout: 1, ready-timeout: 2}\n", NULL, MU_CONFIG,
         "a.yml:1:28: 'ready-timeout' was given"},
        {"gas: 2\ngradient_accumulation_steps: 2\n", NULL, MU_CONFIG,
         "a.yml:2:1: 'gradient_accumulation_steps' was"},
        {"muster: {ready_timeout: 1}\nmuster.ready_timeout: 2\n", NULL, MU_CONFIG,
         "was given already at a.yml:1:10"},
    };
    REFUSE(rows);
}

static void wrong_keys_and_values_are_refused(void **state)
{
    (void)state;
    static const bad_t rows[] = {
        {"num_layer: 2\n", NULL, MU_CONFIG, "a.yml:1:1: unknown key 'num_layer': did you mean num_layers?"},
        {"\n  hiden-size: 2\n", NULL, MU_CONFIG,
         "a.yml:2:3: unknown key 'hiden-size': did you mean hidden_size?"},
        {"muster: {metrics_listen: 'localhost'}\n", NULL, MU_CONFIG, "a.yml:1:10: muster.metrics_listen"},
        {"xyzzy: 2\n", NULL, MU_CONFIG, "a.yml:1:1: unknown key 'xyzzy': `muster config --keys`"},
        {"muster: {redy_timeout: 2}\n", NULL, MU_CONFIG,
         "a.yml:1:10: unknown key 'muster.redy_timeout': did you mean "
         "muster.ready_timeout?"},
        {"ready_timeout: 2\n", NULL, MU_CONFIG, "did you mean muster.ready_timeout?"},
        {"optimizer: {lr: 0.1}\n", NULL, MU_CONFIG, "did you mean optimizer.params.lr?"},
        {"save_interval: -2\n", NULL, MU_CONFIG, "a.yml:1:1: "}, /* the old name of checkpoint_factor */
        {"warmup-iters: 2\n", NULL, MU_CONFIG, "write warmup, a share"},
        {"decay_lr_to: 2\n", NULL, MU_CONFIG, "write min_lr"},
        {"attention_type: flash\n", NULL, MU_CONFIG, "write attention_config"},
        {"lr: 0.1\n", NULL, MU_CONFIG, "a.yml:1:1: lr: 0.1 is not supported: write optimizer"},
        {"fp16: true\n", NULL, MU_CONFIG, "a.yml:1:1: fp16 is a group of keys"},
        {"muster: 3\n", NULL, MU_CONFIG, "a.yml:1:1: muster is a group of keys"},
        {"num_layers: twelve\n", NULL, MU_CONFIG,
         "a.yml:1:1: num_layers: found twelve, wanted a whole number"},
        {"num_layers: \"12\"\n", NULL, MU_CONFIG,
         "a.yml:1:1: num_layers: found \"12\", wanted a whole number"},
        {"num_layers: 12.0\n", NULL, MU_CONFIG, "wanted a whole number, written with digits only"},
        {"num_layers: 0\n", NULL, MU_CONFIG, "num_layers: found 0, wanted a number from 1 to 10000"},
        {"num_layers: -3\n", NULL, MU_CONFIG, "num_layers: found -3, wanted a number from 1"},
        {"num_layers: 99999999999999999999\n", NULL, MU_CONFIG, "wanted a whole number"},
        {"seed: 017\n", NULL, MU_CONFIG, "seed: found 017, wanted a whole number"},
        {"seed: 1:30\n", NULL, MU_CONFIG, "seed: found 1:30, wanted a whole number"},
        {"num_layers: [2]\n", NULL, MU_CONFIG, "num_layers: found [2], wanted a whole number"},
        {"num_layers: {a: 2}\n", NULL, MU_CONFIG, "num_layers: found {a: 2}, wanted a whole number"},
        {"min_lr: .inf\n", NULL, MU_CONFIG, "min_lr: found .inf, wanted a number"},
        {"min_lr: nan\n", NULL, MU_CONFIG, "min_lr: found nan, wanted a number"},
        {"min_lr: 1e999\n", NULL, MU_CONFIG, "min_lr: found 1e999, wanted a number"},
        {"finetune: 1\n", NULL, MU_CONFIG, "finetune: found 1, wanted true or false"},
        {"finetune: \"yes\"\n", NULL, MU_CONFIG, "finetune: found \"yes\", wanted true or false"},
        {"save: yes\n", NULL, MU_CONFIG, "save: found yes, wanted text: put it in quotes"},
        {"save: [a]\n", NULL, MU_CONFIG, "save: found [a], wanted text"},
        {"num_workers: many\n", NULL, MU_CONFIG, "num_workers: found many, wanted a whole number"},
        {"pos_emb: alibi\n", NULL, MU_CONFIG, "pos_emb: found alibi, wanted one of rotary, learned, none"},
        {"activation: geglu\n", NULL, MU_CONFIG, "activation: found geglu, wanted one of gelu, swiglu"},
        {"init_method: xavier_normal\n", NULL, MU_CONFIG,
         "init_method: found xavier_normal, wanted one of normal"},
        {"optimizer: {type: Lion}\n", NULL, MU_CONFIG,
         "a.yml:1:13: optimizer.type: found Lion, wanted one of Adam"},
        {"optimizer: {params: {betas: [0.9]}}\n", NULL, MU_CONFIG,
         "a.yml:1:22: optimizer.params.betas: found [0.9]"},
        {"optimizer: {params: {betas: [0.9, 1.0]}}\n", NULL, MU_CONFIG, "wanted two numbers below 1"},
        {"optimizer: {params: {lr: 0}}\n", NULL, MU_CONFIG, "optimizer.params.lr: found 0"},
        {"optimizer: {params: {weight_decay: 0.1}}\n", NULL, MU_CONFIG,
         "write weight_decay at the top level"},
        {"precision: int8\n", NULL, MU_CONFIG,
         "precision: found int8, wanted one of fp32, bfloat16 or bf16, fp16"},
        {"extra_save_iters: 5\n", NULL, MU_CONFIG, "extra_save_iters: found 5, wanted a list"},
        {"extra_save_iters: [1, x]\n", NULL, MU_CONFIG, "extra_save_iters: found x, wanted a whole number"},
        {"train_data_paths: a\n", NULL, MU_CONFIG, "train_data_paths: found a, wanted a list"},
        {"muster: {hang_timeout: soon}\n", NULL, MU_CONFIG,
         "hang_timeout: found soon, wanted a number or auto"},
        {"muster: {device: tpu}\n", NULL, MU_CONFIG,
         "muster.device: found tpu, wanted one of auto, cpu, cuda"},
        {"muster: {log_level: loud}\n", NULL, MU_CONFIG,
         "muster.log_level: found loud, wanted one of error, warn"},
        {"norm: scalenorm\n", NULL, MU_CONFIG,
         "a.yml:1:1: norm: found scalenorm, wanted one of layernorm, rmsnorm"},
        {"hidden_dropout: 1\n", NULL, MU_CONFIG,
         "a.yml:1:1: hidden_dropout: found 1, wanted a number from 0 to 0.999"},
        {"attention-dropout: -0.1\n", NULL, MU_CONFIG,
         "a.yml:1:1: attention_dropout: found -0.1, wanted a number from 0"},
        {"{num_layers: 2, hidden_size: 8, num_attention_heads: 2, muster: {no_decay: [norms, norm]}}\n", NULL,
         MU_CONFIG, "muster.no_decay: no parameter that is trained is called 'norm'"},
        {"{num_layers: 2, hidden_size: 8, num_attention_heads: 2, muster: {lr_scale: "
         "[\"layers.2.*=0.5\"]}}\n",
         NULL, MU_CONFIG, "muster.lr_scale: no parameter that is trained is called 'layers.2.*'"},
        {"muster: {lr_scale: [embeddings]}\n", NULL, MU_CONFIG,
         "muster.lr_scale: found 'embeddings', wanted NAME=FACTOR"},
        {"muster: {lr_scale: [head=-1]}\n", NULL, MU_CONFIG, "muster.lr_scale: found 'head=-1'"},
        {"num_unique_layers: 2\n", NULL, MU_CONFIG,
         "a.yml:1:1: num_unique_layers: 2 is not supported: layers"},
        {"moe_num_experts: 8\n", NULL, MU_CONFIG,
         "a.yml:1:1: moe_num_experts: 8 is not supported (only 1 is)"},
        {"train_label_data_paths: [a]\n", NULL, MU_CONFIG,
         "train_label_data_paths has 1 paths for 0 data paths"},
        {"train_data_weights: [1., x]\n", NULL, MU_CONFIG, "train_data_weights: found x, wanted a number"},
        {"train_data_weights: [-1]\n", NULL, MU_CONFIG, "wanted a number from 0"},
        {"weight_by_num_documents: 2\n", NULL, MU_CONFIG, "wanted true or false"},
        {"sparsity_config: {a: 1}\n", NULL, MU_CONFIG, "sparsity_config: {a: 1} is not supported"},
        {"curriculum_learning: {enabled: true}\n", NULL, MU_CONFIG,
         "curriculum_learning: {enabled: true} is not"},
        {"precision: bfloat16\nmuster: {attention: flash}\n", NULL, MU_CONFIG,
         "a.yml:2:10: muster.attention: found flash"},
        {"muster: {attention: cudnn}\n", NULL, MU_CONFIG,
         "a.yml:1:10: muster.attention is cudnn, which has no "},
        {"precision: bfloat16\nmuster: {attention: cudnn, device: cpu}\n", NULL, MU_CONFIG,
         "computes on GPUs"},
        {"precision: fp16\nmuster: {attention: cudnn}\nattention_dropout: 0.1\n", NULL, MU_CONFIG,
         "(a.yml:3:1): set muster.attention=own"},
        {"precision: fp16\nmuster: {attention: cudnn}\nreset_attention_mask: true\n", NULL, MU_CONFIG,
         "borders of documents"},
        {"zero_optimization: {stage: 2}\n", NULL, MU_CONFIG,
         "a.yml:1:21: zero_optimization.stage 2 is not supported"},
        {"zero_optimization: {stage: 3}\n", NULL, MU_CONFIG,
         "a.yml:1:21: zero_optimization.stage 3 is not supported"},
        {"zero_optimization: {cpu_offload: True}\n", NULL, MU_CONFIG,
         "zero_optimization.cpu_offload: True is not"},
        {"zero_optimization: {offload_optimizer: {device: cpu}}\n", NULL, MU_CONFIG,
         "offload_optimizer: {device: cpu}"},
        {"num_layers: 2\n", "train_iters", MU_USAGE, "'train_iters' is not key=value"},
        {"num_layers: 2\n", "=3", MU_USAGE, "'=3' is not key=value"},
        {"num_layers: 2\n", "tran_iters=3", MU_CONFIG,
         "command line: unknown key 'tran_iters': did you mean train_iters?"},
        {"num_layers: 2\n", "train_iters=x", MU_CONFIG, "command line: train_iters: found x"},
        {"num_layers: 2\n", "train_iters=[1", MU_CONFIG, "command line: train_iters:2:1: a ',' is missing"},
        {"num_layers: 2\n", "save=\xff", MU_DATA, "command line: save:1:1: byte 0xff is not UTF-8"},
    };
    REFUSE(rows);
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    static const bad_t rows[] = {
        {"hidden_size: 100\nnum_attention_heads: 3\n", NULL, MU_CONFIG,
         "a.yml:2:1: num_attention_heads 3 does not divide hidden_size 100 (a.yml:1:1)"},
        {"seq_length: 100\nmax_position_embeddings: 99\n", NULL, MU_CONFIG,
         "a.yml:2:1: max_position_embeddings 99 is less than seq_length 100 (a.yml:1:1)"},
        {"min_lr: 0.1\noptimizer: {params: {lr: 0.01}}\n", NULL, MU_CONFIG,
         "a.yml:1:1: min_lr 0.1 is greater than"},
        {"hidden_size: 8\nintermediate_size: 8\nexpansion_factor: 2\n", NULL, MU_CONFIG,
         "a.yml:3:1: expansion_factor excludes intermediate_size (a.yml:2:1)"},
        {"hidden_size: 8\nintermediate_size: 9\n", NULL, MU_CONFIG, "a.yml:2:1: the MLP would be 9 wide"},
        {"hidden_size: 96\nnum_attention_heads: 8\npos_emb: rotary\nrotary_pct: 0.3\n", NULL, MU_CONFIG,
         "a.yml:4:1: rotary_pct 0.3 of a head of 12 dimensions is 3"},
        {"hidden_size: 96\nnum_attention_heads: 8\npos_emb: rotary\nrotary_pct: 0\n", NULL, MU_CONFIG,
         "a.yml:4:1: "},
        {"precision: fp32\nfp16: {enabled: true}\n", NULL, MU_CONFIG,
         "a.yml:2:8: fp16.enabled contradicts precision (a.yml:1:1)"},
        {"bf16: {enabled: true}\nfp16: {enabled: true}\n", NULL, MU_CONFIG,
         "a.yml:1:8: bf16.enabled contradicts"},
        {"split: \"1,2,x\"\n", NULL, MU_CONFIG,
         "a.yml:1:1: split: found 1,2,x, wanted are up to three numbers"},
        {"split: \"90,5,5,-7\"\n", NULL, MU_CONFIG, "a.yml:1:1: split: found 90,5,5,-7, wanted"},
        {"split: \"90,5,5,nonsense\"\n", NULL, MU_CONFIG, "a.yml:1:1: split: found 90,5,5,nonsense, wanted"},
        {"split: \"90,5,5,\"\n", NULL, MU_CONFIG, "a.yml:1:1: split: found 90,5,5,, wanted"},
        {"split: \"0x10,1,1\"\n", NULL, MU_CONFIG, "a.yml:1:1: split: found 0x10,1,1, wanted"},
        {"split: \"0,0\"\n", NULL, MU_CONFIG, "a.yml:1:1: split: found 0,0, wanted"},
        {"train_iters: 1\ntrain_epochs: 1\n", NULL, MU_CONFIG,
         "a.yml:2:1: train_epochs excludes train_iters"},
        {"train_data_paths: [a]\n", NULL, MU_CONFIG, "a.yml:1:1: train_data_paths needs test_data_paths too"},
        {"train_data_paths: [a]\nvalid_data_paths: [a]\ntest_data_paths: [a]\ndata_path: b\n", NULL,
         MU_CONFIG, "excludes data_path (a.yml:4:1)"},
        {"train_data_paths: [a, b]\nvalid_data_paths: [a]\ntest_data_paths: [a]\ntrain_data_weights: [1]\n",
         NULL, MU_CONFIG, "a.yml:4:1: train_data_weights has 1 weights for 2 paths"},
        {"train_data_paths: [a, b]\nvalid_data_paths: [a]\ntest_data_paths: [a]\nvalid_data_weights: [0]\n",
         NULL, MU_CONFIG, "valid_data_weights: one weight must be above 0"},
        {"train_data_paths: [a, b]\nvalid_data_paths: [a]\ntest_data_paths: [a]\ntrain_epochs: 1\n", NULL,
         MU_CONFIG, "a.yml:4:1: train_epochs needs data_path"},
        {"train_data_weights: [1]\n", NULL, MU_CONFIG, "has 1 weights for 0 paths"},
        {"train_data_paths: []\nvalid_data_paths: [a]\ntest_data_paths: [a]\n", NULL, MU_CONFIG,
         "train_data_paths is empty"},
        {"override_lr_scheduler: true\nuse_checkpoint_lr_scheduler: true\n", NULL, MU_CONFIG, "a.yml:2:1: "},
        {"num_layers: 4\nattention_config: [[[\"flash\"], 3]]\n", NULL, MU_CONFIG,
         "a.yml:2:1: attention_config lists 3 layers, num_layers (a.yml:1:1) is 4"},
        {"num_layers: 4\nattention_config: [[[\"sparse_fixed\"], 4]]\n", NULL, MU_CONFIG,
         "a.yml:2:1: attention_config: 'sparse_fixed' is not supported"},
        {"attention_config: [[[], 4]]\n", NULL, MU_CONFIG, "a.yml:1:1: attention_config: write"},
        {"attention_config: [[[flash], -1]]\n", NULL, MU_CONFIG, "a.yml:1:1: attention_config: write"},
        {"attention_config: flash\n", NULL, MU_CONFIG, "a.yml:1:1: attention_config: a list is wanted"},
        {"checkpoint_factor: 1\ncheckpoint_scale: log\n", NULL, MU_CONFIG,
         "a.yml:1:1: checkpoint_factor must be 2"},
        {SMALL "model_parallel_size: 4\n", NULL, MU_CONFIG,
         "a.yml:11:1: tensor parallelism 4 (model_parallel_size 4, pipe_parallel_size 0) does not divide "
         "num_attention_heads 6; what fits: tp 1, tp 2, tp 3, tp 6"},
        {SMALL "pipe_parallel_size: 2\nmodel_parallel_size: 2\n", NULL, MU_CONFIG,
         "a.yml:11:1: tensor parallelism 4"},
        {SMALL "model_parallel_size: 3\nintermediate_size: 500\n", NULL, MU_CONFIG,
         "does not divide the MLP's width 500"},
        {SMALL "model_parallel_size: 3\npadded_vocab_size: 500\n", NULL, MU_CONFIG,
         "does not divide the padded vocabulary 500; what fits: tp 1, tp 2\n"},
        {SMALL "train_batch_size: 10\n", NULL, MU_CONFIG,
         "a.yml:11:1: the batch does not add up for any number of replicas: train_batch_size 10 "
         "(a.yml:11:1), "
         "train_micro_batch_size_per_gpu 4 (a.yml:10:1)"},
        {SMALL "train_batch_size: 20\ngradient_accumulation_steps: 3\n", NULL, MU_CONFIG,
         "and it is inferred"},
        {SMALL_RUN "train_batch_size: 20\ngas: 3\n", NULL, MU_CONFIG,
         "a multiple of gradient_accumulation_steps"},
        {SMALL "save: x\n", NULL, MU_CONFIG, "a.yml:11:1: save needs checkpoint_factor"},
        {"num_layers: 2\n", NULL, MU_CONFIG, "lacks hidden_size, num_attention_heads, seq_length"},
        {SMALL_RUN, NULL, MU_CONFIG, "lacks train_micro_batch_size_per_gpu"},
    };
    REFUSE(rows);
}

static void a_key_in_two_files_is_refused(void **state)
{
    (void)state;
    mu_config_t *config;
    char *paths[] = {(char[]){"a.yml"}, (char[]){"b.yml"}};
    write_text("a.yml", "num_layers: 2\n");
    write_text("b.yml", "\nnum-layers: 2\n");
    hear();
    assert_int_equal(mu_config_load(paths, 2, NULL, 0, &config), MU_CONFIG);
    assert_said("b.yml:2:1: 'num_layers' was given already at a.yml:1:1");
}

static void a_missing_file_is_told(void **state)
{
    (void)state;
    mu_config_t *config;
    char *paths[] = {(char[]){"absent"}};
    hear();
    assert_int_equal(mu_config_load(paths, 1, NULL, 0, &config), MU_NOINPUT);
    assert_said("absent.yml: cannot open");
    assert_int_equal(mkdir("folder.yml", 0700), 0);
    paths[0] = (char[]){"folder.yml"};
    assert_int_equal(mu_config_load(paths, 1, NULL, 0, &config), MU_NOINPUT);
}

static void all_mistakes_are_told_at_once(void **state)
{
    (void)state;
    mu_config_t *config;
    assert_int_equal(load_text("num_layrs: 2\nnorm: scalenorm\nseed: x\nfinetune: 3\n", NULL, &config),
                     MU_CONFIG);
    assert_said("a.yml:1:1: unknown key");
    assert_said("a.yml:2:1: norm");
    assert_said("a.yml:3:1: seed");
    assert_said("a.yml:4:1: finetune");
}

/* Files made to exhaust a reader: refused, and without memory to speak of. */
static void bombs_are_defused(void **state)
{
    (void)state;
    mu_config_t *config;
    mu_buf_t text = MU_BUF_INIT;
    static const char laughs[] = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    assert_int_equal(load_text(laughs, NULL, &config), MU_CONFIG);
    assert_said("a.yml:1:4: anchors");

    for (int i = 0; i < 500000; i++)
        mu_buf_addc(&text, '[');
    assert_int_equal(load_text(text.data, NULL, &config), MU_CONFIG);
    assert_said("a.yml:1:33: nested more than 32 levels deep");

    mu_buf_clear(&text);
    mu_buf_adds(&text, "extra_save_iters: [");
    for (int i = 0; i < 100000; i++)
        mu_buf_adds(&text, "1,");
    mu_buf_adds(&text, "]");
    assert_int_equal(load_text(text.data, NULL, &config), MU_CONFIG);
    assert_said("more than 20000 values");

    mu_buf_clear(&text);
    mu_buf_adds(&text, "save: ");
    for (int i = 0; i < 5000; i++)
        mu_buf_addc(&text, 'x');
    assert_int_equal(load_text(text.data, NULL, &config), MU_CONFIG);
    assert_said("a.yml:1:1: save: found xxx");
    assert_said("wanted a text of at most 4096 bytes");

    mu_buf_clear(&text);
    for (int i = 0; i < 50000; i++)
        mu_buf_addf(&text, "k%d: 1\n", i);
    assert_int_equal(load_text(text.data, NULL, &config), MU_CONFIG);
    assert_said("a.yml:1001:1: more than 1000 keys");
    mu_buf_release(&text);
}

static void a_scalar_of_100_mb_is_refused_unread(void **state)
{
    (void)state;
    mu_config_t *config;
    char *paths[] = {(char[]){"big.yml"}};
    struct rusage before, after;
    FILE *f = fopen("big.yml", "wb");
    assert_non_null(f);
    fputs("save: ", f);
    char *block = mu_alloc(1 << 20);
    memset(block, 'x', 1 << 20);
    for (int i = 0; i < 100; i++)
        assert_int_equal(fwrite(block, 1, 1 << 20, f), 1 << 20);
    free(block);
    assert_int_equal(fclose(f), 0);
    hear();
    getrusage(RUSAGE_SELF, &before);
    assert_int_equal(mu_config_load(paths, 1, NULL, 0, &config), MU_DATA);
    getrusage(RUSAGE_SELF, &after);
    assert_said("big.yml: larger than the 1048576 bytes");
    assert_true(after.ru_maxrss - before.ru_maxrss < 16 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_beyond_the_subset_is_refused),
        cmocka_unit_test(wrong_keys_and_values_are_refused),
        cmocka_unit_test(keys_that_contradict_each_other_are_refused),
        cmocka_unit_test(a_key_in_two_files_is_refused),
        cmocka_unit_test(a_missing_file_is_told),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(bombs_are_defused),
        cmocka_unit_test(a_scalar_of_100_mb_is_refused_unread),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
