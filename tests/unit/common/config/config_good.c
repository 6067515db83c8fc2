/* What good configurations mean: the published files, YAML's spellings, merging and origins.
 */
#include "tests/unit/common/config/config_test.h"
#include "common/config/config_keys.h"

static void published_files_load_unchanged(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int64_t layers, hidden, heads, rotary, iters;
        mu_residual_t residual;
        mu_activation_t activation;
        mu_init_t init, output;
        bool complete;
    } row[] = {
        {"125M.yml", 12, 768, 12, 64, 320000, MU_RESIDUAL_SEQUENTIAL, MU_GELU_ERF, MU_INIT_SMALL,
         MU_INIT_WANG, true},
        {"125M-json.yml", 12, 768, 12, 64, 320000, MU_RESIDUAL_SEQUENTIAL, MU_GELU_ERF, MU_INIT_SMALL,
         MU_INIT_WANG, true},
        {"20B.yml", 44, 6144, 64, 24, 150000, MU_RESIDUAL_PARALLEL, MU_GELU_TANH, MU_INIT_SMALL, MU_INIT_WANG,
         true},
        {"finetuning_configs-6-9B.yml", 32, 4096, 32, 32, 143000, MU_RESIDUAL_PARALLEL, MU_GELU_TANH,
         MU_INIT_NORMAL, MU_INIT_SCALED_NORMAL, true},
        {"pythia-1-4B.yml", 24, 2048, 16, 32, 143000, MU_RESIDUAL_PARALLEL, MU_GELU_TANH, MU_INIT_SMALL,
         MU_INIT_WANG, true},
        {"pythia-70M.yml", 6, 512, 8, 16, 143000, MU_RESIDUAL_PARALLEL, MU_GELU_TANH, MU_INIT_SMALL,
         MU_INIT_WANG, true},
        {"slurm_125M.yml", 12, 768, 12, 64, 320000, MU_RESIDUAL_SEQUENTIAL, MU_GELU_TANH, MU_INIT_NORMAL,
         MU_INIT_SCALED_NORMAL, true},
        {"local_setup.yml", 0, 0, 0, 0, 0, MU_RESIDUAL_SEQUENTIAL, MU_GELU_ERF, MU_INIT_NORMAL,
         MU_INIT_SCALED_NORMAL, false},
        {"text_generation.yml", 0, 0, 0, 0, 0, MU_RESIDUAL_SEQUENTIAL, MU_GELU_ERF, MU_INIT_NORMAL,
         MU_INIT_SCALED_NORMAL, false},
    };
    if (!published_folder()) {
        print_message("the published configurations are not here: skipped\n");
        skip();
    }
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_config_t *c = load_published(row[i].file, NULL);
        assert_int_equal(c->model.layers, row[i].layers);
        assert_int_equal(c->model.hidden, row[i].hidden);
        assert_int_equal(c->model.heads, row[i].heads);
        assert_int_equal(c->model.ffn, 4 * row[i].hidden);
        assert_int_equal(c->model.rotary_dims, row[i].rotary);
        assert_int_equal(c->train_iters, row[i].iters);
        assert_int_equal(c->model.residual, row[i].residual);
        assert_int_equal(c->model.activation, row[i].activation);
        assert_int_equal(c->model.init, row[i].init);
        assert_int_equal(c->model.output_init, row[i].output);
        assert_int_equal(mu_config_missing(c) == NULL, row[i].complete);
        assert_int_equal(c->model.tied_head, !row[i].complete);
        if (row[i].complete) {
            assert_int_equal(c->precision, MU_FP16);
            assert_int_equal(mu_config_resolve(c, &(mu_world_t){0}), MU_OK);
        }
        mu_config_free(c);
    }
}

static void published_files_combine(void **state)
{
    (void)state;
    if (!published_folder()) {
        print_message("the published configurations are not here: skipped\n");
        skip();
    }
    mu_config_t *c = load_published("125M.yml", "local_setup.yml");
    assert_int_equal(mu_config_resolve(c, &(mu_world_t){.workers = 8, .slots_per_host = 8}), MU_OK);
    assert_int_equal(c->dp, 8);
    assert_int_equal(c->train_batch_size, 32);
    assert_string_equal(c->save, "checkpoints");
    assert_string_equal(c->hostfile, "/mock_path");
    assert_string_equal(c->data_path, "data/enwik8/enwik8_text_document");
    mu_config_free(c);

    c = load_published("20B.yml", NULL); /* 96 GPUs in hosts of 8: the published 1536 sequences */
    assert_int_equal(mu_config_resolve(c, &(mu_world_t){.workers = 96, .slots_per_host = 8}), MU_OK);
    assert_int_equal(c->tp, 8);
    assert_int_equal(c->dp, 12);
    assert_int_equal(c->train_batch_size, 1536);
    assert_non_null(strstr(mu_config_notes(c), "pipe_parallel_size 4 x model_parallel_size 2 runs as tensor "
                                               "parallelism 8"));
    int64_t rows;
    assert_int_equal(mu_config_padded_vocab(c, 50277, &rows), MU_OK);
    assert_int_equal(rows, 50432);
    mu_config_free(c);

    c = load_published("finetuning_configs-6-9B.yml", NULL);
    assert_int_equal(c->extra_save_count, 11);
    assert_int_equal(c->extra_save_iters[10], 512);
    assert_true(c->finetune);
    mu_config_free(c);
}

/* The keys of a public Kubernetes recipe that fine-tunes GPT-NeoX-20B: both spellings, flow style with
 * comments, Python's True, underscores in numbers. */
static void a_cluster_recipe_loads(void **state)
{
    (void)state;
    static const char recipe[] =
        "{\n# paths\n\"vocab-file\": \"/c/20B_tokenizer.json\", \"save\": \"/c/tuned\", \"load\": "
        "\"/c/base\",\n"
        "\"data-path\": \"/d/text_document\", \"pipe-parallel-size\": 4, \"model-parallel-size\": 2,\n"
        "\"num-layers\": 44, \"hidden-size\": 6144, \"num-attention-heads\": 64, \"seq-length\": 2048,\n"
        "\"max-position-embeddings\": 2048, \"norm\": \"layernorm\", \"pos-emb\": \"rotary\", "
        "\"rotary_pct\": 0.25,\n"
        "\"no-weight-tying\": true, \"gpt_j_residual\": true, \"output_layer_parallelism\": \"column\",\n"
        "\"scaled-upper-triang-masked-softmax-fusion\": true, \"bias-gelu-fusion\": true,\n"
        "\"init_method\": \"small_init\", \"output_layer_init_method\": \"wang_init\",\n"
        "\"optimizer\": {\"type\": \"Adam\", \"params\": {\"lr\": 0.97e-4, \"betas\": [0.9, 0.95], \"eps\": "
        "1.0e-8,}},\n"
        "\"min_lr\": 0.97e-5, \"zero_optimization\": {\"stage\": 1, \"allgather_partitions\": True,\n"
        "  \"allgather_bucket_size\": 1260000000, \"overlap_comm\": True, \"reduce_scatter\": True,\n"
        "  \"reduce_bucket_size\": 1260000000, \"contiguous_gradients\": True,},\n"
        "\"train_micro_batch_size_per_gpu\": 8, \"gradient_accumulation_steps\": 96, \"data-impl\": "
        "\"mmap\",\n"
        "\"split\": \"995,4,1\", \"checkpoint-activations\": true, \"checkpoint-num-layers\": 1,\n"
        "\"partition-activations\": false, \"synchronize-each-layer\": true, \"gradient_clipping\": 1.0,\n"
        "\"weight-decay\": 0.01, \"hidden-dropout\": 0, \"attention-dropout\": 0,\n"
        "\"fp16\": {\"fp16\": true, \"enabled\": true, \"loss_scale\": 0, \"loss_scale_window\": 1000,\n"
        "  \"initial_scale_power\": 12, \"hysteresis\": 2, \"min_loss_scale\": 1},\n"
        "\"train-iters\": 150_000, \"lr-decay-iters\": 150_000, \"distributed-backend\": \"nccl\",\n"
        "\"lr-decay-style\": \"cosine\", \"warmup\": 0.01, \"checkpoint-factor\": 500, # steps\n"
        "\"eval-interval\": 1000, \"eval-iters\": 10, \"log-interval\": 2, \"steps_per_print\": 2,\n"
        "\"wall_clock_breakdown\": false, \"tokenizer_type\": \"HFTokenizer\", \"tensorboard-dir\": "
        "\"/l/t\",\n"
        "\"log-dir\": \"/l\", \"hostfile\": \"/etc/mpi/hostfile\", \"deepspeed_mpi\": false,\n"
        "\"wandb_project\": \"p\", \"wandb_group\": \"g\",\n}\n";
    mu_config_t *c = load_good(recipe, NULL);
    assert_int_equal(mu_config_resolve(c, &(mu_world_t){.workers = 16, .slots_per_host = 8}), MU_OK);
    assert_int_equal(c->tp, 8);
    assert_int_equal(c->dp, 2);
    assert_int_equal(c->train_batch_size, 1536);
    assert_int_equal(c->precision, MU_BF16);
    assert_int_equal(c->train_iters, 150000);
    assert_string_equal(c->hostfile, "/etc/mpi/hostfile");
    assert_string_equal(c->tensorboard_dir, "/l/t");
    assert_true(c->use_wandb); /* a project is named */
    mu_config_free(c);
}

/* A named project turns Weights & Biases on, an empty one turns it off. */
static void wandb_is_on_when_it_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        bool on;
    } cases[] = {
        {"seed: 1\n", false},
        {"wandb_project: p\n", true},
        {"wandb_project: ''\n", false},
        {"wandb_project: ''\nwandb_group: g\nuse_wandb: true\n", false},
        {"wandb_group: ''\nwandb_team: ''\n", false},
        {"wandb_team: t\n", true},
        {"wandb_project: p\nuse_wandb: false\n", false},
        {"wandb_project: null\nuse_wandb: true\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_config_t *c = load_good(cases[i].keys, "num_layers=2");
        if (c->use_wandb != cases[i].on)
            fail_msg("'%s': %d", cases[i].keys, c->use_wandb);
        mu_config_free(c);
    }
}

static void scalars_are_those_of_yaml_1_1(void **state)
{
    (void)state;
    mu_config_t *c = load_good(
        "train-iters: 150_000\nmin_lr: 0.97e-5\nfinetune: True\nno-weight-tying: yes\n"
        "gpt_j_residual: on\neod_mask_loss: Off\nwarmup: 1e-2\nseed: +7\nsave: 'it''s'\n"
        "load: \"a\\tb\\u00e9\"\nlr_decay_iters: null\nsplit: 90,5,5\nmuster:\n  hang-timeout: auto\n"
        "extra_save_iters: [8, 1, 8, 2]\n",
        NULL);
    assert_int_equal(c->train_iters, 150000);
    assert_true(c->min_lr == 0.97e-5);
    assert_true(c->finetune && !c->model.tied_head && !c->eod_mask_loss);
    assert_int_equal(c->model.residual, MU_RESIDUAL_PARALLEL);
    assert_true(c->warmup == 0.01);
    assert_non_null(strstr(mu_config_notes(c), "a.yml:7:1: warmup: 1e-2 is text to YAML 1.1"));
    assert_int_equal(c->seed, 7);
    assert_string_equal(c->save, "it's");
    assert_string_equal(c->load, "a\tb\xc3\xa9");
    assert_int_equal(c->lr_decay_iters, 0);
    assert_false(mu_config_given(c, "lr_decay_iters"));
    assert_string_equal(c->split, "90,5,5");
    assert_true(c->muster.hang_timeout == 0);
    assert_int_equal(c->extra_save_count, 3);
    assert_int_equal(c->extra_save_iters[2], 8);
    mu_config_free(c);
}

static void json_and_a_byte_order_mark_are_read(void **state)
{
    (void)state;
    mu_config_t *c =
        load_good("\xef\xbb\xbf{\n\t\"num_layers\": 3,\n\t\"save\": \"a\\/b\",\r\n \"muster\": {}}", NULL);
    assert_int_equal(c->model.layers, 3);
    assert_string_equal(c->save, "a/b");
    mu_config_free(c);
}

static void defaults_are_those_of_gpt_neox(void **state)
{
    (void)state;
    mu_config_t *c = load_good("num_layers: 2\n", NULL);
    assert_int_equal(c->model.position, MU_POSITION_LEARNED);
    assert_int_equal(c->model.activation, MU_GELU_ERF);
    assert_true(c->model.tied_head);
    assert_true(c->model.norm_eps == 1e-5 && c->model.init_std == 0.02 && c->model.rotary_base == 10000);
    assert_int_equal(c->precision, MU_FP32);
    assert_int_equal(c->lr_decay_style, MU_DECAY_LINEAR);
    assert_true(c->beta1 == 0.9 && c->beta2 == 0.999 && c->eps == 1e-8);
    assert_true(c->weight_decay == 0.1 && c->gradient_clipping == 1 && c->warmup == 0.01);
    assert_int_equal(c->eval_interval, 1000);
    assert_int_equal(c->eval_iters, 100);
    assert_int_equal(c->seed, 1234);
    assert_string_equal(c->split, "969, 30, 1");
    assert_int_equal(c->maximum_tokens, 64);
    assert_true(c->muster.ready_timeout == 300 && c->muster.lease_timeout == 15 &&
                c->muster.hang_timeout == 0);
    assert_int_equal(c->muster.log_level, MU_LOG_INFO);
    assert_null(c->save);
    assert_null(c->train_data_paths);
    mu_config_free(c);
}

/* The tensor of a name. */
static mu_tensor_t tensor(const mu_config_t *c, const char *name)
{
    mu_tensor_t t;
    int index = mu_model_tensor_find(&c->model, name);
    assert_true(index >= 0);
    mu_model_tensor(&c->model, index, &t);
    return t;
}

static void groups_of_parameters(void **state)
{
    (void)state;
#define MODEL "num_layers: 2\nhidden_size: 64\nnum_attention_heads: 4\npos_emb: rotary\n"
    static const struct {
        const char *name;
        bool decays[3];
        double scale;
    } rows[] = {{"embed_in.weight", {true, false, true}, 0.1},
                {"layers.0.input_layernorm.weight", {false, true, true}, 0},
                {"layers.1.attention.dense.weight", {true, true, true}, 1},
                {"layers.1.attention.dense.bias", {false, false, true}, 3},
                {"layers.1.mlp.dense_h_to_4h.weight", {true, false, true}, 1},
                {"final_layer_norm.bias", {false, true, true}, 1}};
    mu_config_t *of[3] = {
        load_good(MODEL, NULL),
        load_good(MODEL "muster: {no_decay: [biases, embeddings, \"*.mlp.*\"], lr_scale: "
                        "[embeddings=0.1, \"layers.0.*=0\", biases=3, \"*=1\", head=9]}\n",
                  NULL),
        load_good(MODEL "muster: {no_decay: []}\n", NULL),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mu_tensor_t t = tensor(of[0], rows[i].name);
        for (int k = 0; k < 3; k++)
            assert_int_equal(mu_config_decays(of[k], &t), rows[i].decays[k]);
        assert_true(mu_config_lr_scale(of[0], &t) == 1);
        assert_true(mu_config_lr_scale(of[1], &t) == rows[i].scale);
    }
    for (int k = 0; k < 3; k++)
        mu_config_free(of[k]);
}

static void the_command_line_wins(void **state)
{
    (void)state;
    mu_config_t *c = load_good(
        "train_iters: 5\nmodel_parallel_size: 2\noptimizer: {params: {lr: 0.1}}\nnorm: scalenorm\n",
        "train-iters=7 train_iters=8 optimizer.params.lr=1e-4 muster.ready_timeout=60 norm=layernorm "
        "model_parallel_size=4 split=9,1,0 save=a=b load=null extra_save_iters=[3,4]");
    assert_int_equal(c->train_iters, 8);
    assert_true(c->lr == 1e-4 && c->muster.ready_timeout == 60);
    assert_string_equal(c->split, "9,1,0");
    assert_string_equal(c->save, "a=b");
    assert_null(c->load);
    assert_int_equal(c->extra_save_count, 2);
    assert_int_equal(c->model_parallel_size, 4);
    assert_int_equal(c->model_parallel_in_files,
                     2); /* the vocabulary belongs to the model, not to the layout */
    assert_string_equal(mu_config_origin(c, "train_iters"), "command line");
    assert_string_equal(mu_config_origin(c, "seed"), "default");
    assert_true(mu_config_given(c, "optimizer.params.lr"));
    assert_false(mu_config_given(c, "load"));
    mu_config_free(c);

    assert_true(mu_config_is_override("a-b.c_d=")); /* an empty value */
    assert_false(mu_config_is_override("/tmp/a=b"));
    assert_false(mu_config_is_override("a.yml"));
    write_text("x=1.yml", "seed: 1\n");
    assert_false(mu_config_is_override("x=1.yml"));
}

static void files_merge_and_need_no_suffix(void **state)
{
    (void)state;
    mu_config_t *c;
    char *paths[] = {(char[]){"one"}, (char[]){"two"}, (char[]){"three.json"}};
    write_text("one.yml", "num_layers: 2\nmuster: {device: cpu}\n");
    write_text("two", "seed: 3\nmuster: {lookahead: 9}\n"); /* stands there as it is called */
    write_text("three.json", "{\"gas\": 4}");
    hear();
    assert_int_equal(mu_config_load(paths, 3, NULL, 0, &c), MU_OK);
    assert_int_equal(c->model.layers, 2);
    assert_int_equal(c->seed, 3);
    assert_int_equal(c->accumulation, 4);
    assert_int_equal(c->muster.device, MU_DEVICE_CPU);
    assert_int_equal(c->muster.lookahead, 9);
    assert_string_equal(mu_config_origin(c, "num-layers"), "one.yml:1:1");
    assert_string_equal(mu_config_origin(c, "muster.lookahead"), "two:2:10");
    assert_string_equal(mu_config_origin(c, "gas"), "three.json:1:2");
    mu_config_free(c);
}

static void the_environment_gives_paths(void **state)
{
    (void)state;
    setenv("MODEL_PATH", "/models", 1);
    setenv("DATA_PATH", "/data", 1);
    mu_config_t *c = load_good("load: here\n", NULL), *text;
    assert_string_equal(c->save, "/models");
    assert_string_equal(c->load, "here");
    assert_string_equal(c->data_path, "/data");
    assert_string_equal(mu_config_origin(c, "save"), "environment MODEL_PATH");
    assert_false(mu_config_given(c, "save"));
    mu_config_free(c);
    c = load_good("train_data_paths: [a]\nvalid_data_paths: [b, c]\ntest_data_paths: [d]\nsave: null\n"
                  "valid-data-weights: [1., 2.5]\n",
                  NULL);
    assert_int_equal(c->valid_data_weights.count, 2);
    assert_true(c->valid_data_weights.value[0] == 1 && c->valid_data_weights.value[1] == 2.5);
    assert_null(c->train_data_weights.value);
    assert_true(c->weighted_sampler_alpha == 1);
    assert_null(c->data_path);
    assert_null(c->save);
    assert_string_equal(c->valid_data_paths[1], "c");
    assert_null(c->valid_data_paths[2]);
    mu_config_free(c);
    assert_int_equal(mu_config_load_text("checkpoint", "seed: 1\n", &text), MU_OK);
    assert_null(text->save);
    mu_config_free(text);
    unsetenv("MODEL_PATH");
    unsetenv("DATA_PATH");
}

/* A model that is used elsewhere than it was trained. */
static void a_trained_model_forgets_its_machines(void **state)
{
    (void)state;
    static const char text[] =
        "precision: bfloat16\nseq_length: 64\nhostfile: /nowhere\n"
        "muster: {device: cuda, threads_per_worker: 3, min_hosts: 4, controller_host: a, "
        "transport: rdma, attention: cudnn, lookahead: 7}\n";
    char *const overrides[] = {"muster.threads_per_worker=2", "seq_length=32"};
    mu_config_t *c;
    assert_int_equal(mu_config_load_trained("checkpoint", text, NULL, 0, &c), MU_OK);
    assert_int_equal(c->muster.device, MU_DEVICE_AUTO);
    assert_int_equal(c->muster.transport, MU_TRANSPORT_AUTO);
    assert_int_equal(c->muster.attention, MU_ATTENTION_AUTO);
    assert_int_equal(c->muster.threads_per_worker, 0);
    assert_int_equal(c->muster.min_hosts, 0);
    assert_null(c->muster.controller_host);
    assert_null(c->hostfile);
    assert_int_equal(c->precision, MU_BF16);
    assert_int_equal(c->muster.lookahead, 7);
    mu_config_free(c);
    assert_int_equal(mu_config_load_trained("checkpoint", text, overrides, 2, &c), MU_OK);
    assert_int_equal(c->muster.threads_per_worker, 2);
    assert_int_equal(c->model.seq_length, 32);
    mu_config_free(c);
    char *const bad[] = {"no_such_key=1"};
    assert_int_equal(mu_config_load_trained("checkpoint", text, bad, 1, &c), MU_CONFIG);
}

static void precision_is_read_in_all_its_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mu_precision_t precision;
        const char *origin;
    } row[] = {
        {"seed: 1\n", MU_FP32, "default"},
        {"precision: fp32\n", MU_FP32, "a.yml:1:1"},
        {"precision: bfloat16\n", MU_BF16, "a.yml:1:1"},
        {"precision: fp16\n", MU_FP16, "a.yml:1:1"},
        {"fp16: {fp16: true, enabled: true}\n", MU_FP16, "a.yml:1:20"},
        {"fp16: {fp16: true}\n", MU_FP32, "default"},
        {"fp16: {enabled: true, type: bfloat16}\n", MU_BF16, "a.yml:1:8"},
        {"bf16: {enabled: true}\nprecision: bfloat16\n", MU_BF16, "a.yml:2:1"},
        {"bf16: {enabled: false}\nfp16: {enabled: false}\n", MU_FP32, "default"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_config_t *c = load_good(row[i].text, NULL);
        assert_int_equal(c->precision, row[i].precision);
        assert_string_equal(mu_config_origin(c, "precision"), row[i].origin);
        mu_config_free(c);
    }
}

static void full_attention_is_read_in_all_its_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "[[[\"flash\"], 4]]",
        "[[[\"global\"], \"all\"]]",
        "[[[flash, global], 2]]",
        "[[[global], 1], [[flash], 3]]",
        "[[[global], 1], [[flash], all]]",
        "[global, flash, global, flash]",
        "null",
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char *text = mu_format("num_layers: 4\nattention-config: %s\n", forms[i]);
        mu_config_free(load_good(text, NULL));
        free(text);
    }
}

static void keys_without_effect_are_said_once(void **state)
{
    (void)state;
    mu_config_t *c =
        load_good("zero_optimization: {overlap_comm: true, stage: 0, reduce_scatter: true}\nnum_workers: 1\n"
                  "fp16: {auto_cast: false}\ncurriculum_learning: {enabled: false}\nuse_mup: false\n",
                  NULL);
    assert_string_equal(mu_config_notes(c), "accepted without effect: fp16.auto_cast, "
                                            "zero_optimization.{overlap_comm, reduce_scatter}, num_workers");
    mu_config_free(c);
    c = load_good("zero_optimization: {overlap_comm: true, reduce_scatter: true}\nnum_workers: 1\n"
                  "fp16: {auto_cast: false}\nlog_dir: logs\n",
                  NULL);
    assert_string_equal(mu_config_notes(c), "5 keys without effect: see muster config");
    assert_string_equal(mu_config_notes_in_full(c),
                        "accepted without effect: fp16.auto_cast, "
                        "zero_optimization.{overlap_comm, reduce_scatter}, num_workers, log_dir");
    mu_config_free(c);
}

static void our_own_files_load(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int64_t parameters, vocab;
    } row[] = {
        {"quickstart.yml", 2566272, 4096},
        {"pythia-14m.yml", 14067712, 50277},
        {"pythia-70m.yml", 70426624, 50277},
        {"gpt-neox-20b.yml", 20554567680, 50277},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *path = mu_format("%s/configs/%s", MU_SOURCE_DIR, row[i].file);
        mu_config_t *c = NULL;
        hear();
        if (mu_config_load(&path, 1, NULL, 0, &c) != MU_OK || mu_config_resolve(c, &(mu_world_t){0}) != MU_OK)
            fail_msg("%s", said.data);
        assert_int_equal(mu_config_padded_vocab(c, row[i].vocab, &c->model.vocab), MU_OK);
        if (row[i].parameters)
            assert_int_equal(mu_model_parameters(&c->model), row[i].parameters);
        mu_config_free(c);
        free(path);
    }
}

static void one_file_shows_every_key_of_ours(void **state)
{
    (void)state;
    char *path = mu_strdup(MU_SOURCE_DIR "/configs/all-muster-keys.yml");
    mu_config_t *c;
    hear();
    if (mu_config_load(&path, 1, NULL, 0, &c) != MU_OK)
        fail_msg("%s", said.data);
    for (int i = 0; i < mu_key_count; i++)
        if (strncmp(mu_keys[i].name, "muster.", 7) == 0 &&
            strcmp(mu_config_origin(c, mu_keys[i].name), "default") == 0)
            fail_msg("%s is not in configs/all-muster-keys.yml", mu_keys[i].name);
    mu_config_free(c);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_files_load_unchanged),
        cmocka_unit_test(published_files_combine),
        cmocka_unit_test(a_cluster_recipe_loads),
        cmocka_unit_test(wandb_is_on_when_it_is_named),
        cmocka_unit_test(scalars_are_those_of_yaml_1_1),
        cmocka_unit_test(json_and_a_byte_order_mark_are_read),
        cmocka_unit_test(defaults_are_those_of_gpt_neox),
        cmocka_unit_test(groups_of_parameters),
        cmocka_unit_test(the_command_line_wins),
        cmocka_unit_test(files_merge_and_need_no_suffix),
        cmocka_unit_test(the_environment_gives_paths),
        cmocka_unit_test(a_trained_model_forgets_its_machines),
        cmocka_unit_test(precision_is_read_in_all_its_spellings),
        cmocka_unit_test(full_attention_is_read_in_all_its_forms),
        cmocka_unit_test(keys_without_effect_are_said_once),
        cmocka_unit_test(our_own_files_load),
        cmocka_unit_test(one_file_shows_every_key_of_ours),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
