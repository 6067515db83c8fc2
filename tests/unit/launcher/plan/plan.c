/* muster plan: memory against what the network really allocates, counts against published ones, warnings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/file.h"
#include "common/log.h"
#include "kernels/device.h"
#include "launcher/cmd/cmd.h"
#include "launcher/preflight/requirements.h"
#include "launcher/plan/plan.h"
#include "worker/model/net.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- memory, against the allocator's count ---- */

static const mu_model_t small = {.layers = 3,
                                 .hidden = 48,
                                 .heads = 4,
                                 .ffn = 192,
                                 .seq_length = 40,
                                 .max_positions = 64,
                                 .vocab = 512,
                                 .residual = MU_RESIDUAL_PARALLEL,
                                 .position = MU_POSITION_ROTARY,
                                 .rotary_dims = 4,
                                 .rotary_base = 10000,
                                 .norm_eps = 1e-5,
                                 .init_std = 0.02};

static void near(const char *kind, int64_t planned, int64_t counted)
{
    if (planned - counted > counted / 50 || counted - planned > counted / 50)
        fail_msg("%s: planned %lld bytes, allocated %lld", kind, (long long)planned, (long long)counted);
}

static void compare_as(mu_dtype_t dtype, const mu_model_t *model, int tp, int shards, int64_t micro,
                       bool checkpoint)
{
    mu_device_t *device;
    mu_net_t *net;
    mu_plan_memory_t m;
    mu_comm_t *self = mu_comm_self("tp");
    mu_comm_t pair = *self, replicas = *self;
    pair.size = tp;
    replicas.size = shards;
    replicas.rank = shards - 1;
    mu_net_options_t options = {.micro_batch = micro,
                                .training = true,
                                .dtype = dtype,
                                .checkpoint_activations = checkpoint,
                                .eod = -1};
    options.shard = shards > 1 ? &replicas : NULL;
    mu_plan_shape_t shape = {.tp = tp,
                             .shards = shards,
                             .micro_batch = micro,
                             .checkpoint_activations = checkpoint,
                             .mixed = dtype != MU_DTYPE_F32};
    mu_plan_memory(model, &shape, &m);
    assert_int_equal(mu_device_cpu_new(1, &device), MU_OK);
    assert_int_equal(mu_net_new(device, model, &pair, &options, &net), MU_OK);
    near("weights", m.weights, device->memory[MU_MEM_WEIGHTS].current);
    near("gradients", m.gradients, device->memory[MU_MEM_GRADIENTS].current);
    near("optimizer", m.optimizer, device->memory[MU_MEM_OPTIMIZER].current);
    near("activations", m.activations, device->memory[MU_MEM_ACTIVATIONS].current);
    near("loss and workspace", m.loss + m.workspace, device->memory[MU_MEM_WORKSPACE].current);
    near("communication", m.communication, device->memory[MU_MEM_COMMUNICATION].current);
    near("total", mu_plan_memory_total(&m), device->total.current);
    mu_net_free(net);
    mu_device_close(device);
    mu_comm_free(self);
}

/* What preflight asks of a host for an evaluation: never less than is allocated, and not much more. */
static void use_is_what_is_allocated(void **state)
{
    (void)state;
    static const char text[] = "num_layers: 3\nhidden_size: 64\nnum_attention_heads: 4\nseq_length: 64\n"
                               "max_position_embeddings: 128\npos_emb: rotary\npadded_vocab_size: 8192\n"
                               "gpt_j_residual: %s\nprecision: %s\n";
    for (int i = 0; i < 4; i++) {
        char *yaml = mu_format(text, i % 2 ? "true" : "false", i / 2 ? "bfloat16" : "fp32");
        mu_config_t *config;
        mu_requirements_t needs, training;
        mu_device_t *device;
        mu_net_t *net;
        mu_comm_t *self = mu_comm_self("tp");
        mu_net_options_t options = {
            .micro_batch = 8, .dtype = i / 2 ? MU_DTYPE_BF16 : MU_DTYPE_F32, .eod = -1};
        assert_int_equal(mu_config_load_text("model", yaml, &config), MU_OK);
        assert_int_equal(mu_requirements_of(config, true, &training), MU_OK);
        assert_int_equal(mu_requirements_of(config, false, &needs), MU_OK);
        config->model.vocab = config->padded_vocab_size;
        assert_int_equal(mu_device_cpu_new(1, &device), MU_OK);
        assert_int_equal(mu_net_new(device, &config->model, self, &options, &net), MU_OK);
        double held = (double)device->total.current;
        if ((double)needs.rank < held || (double)needs.rank > 1.5 * held)
            fail_msg("%.0f bytes are allocated, %.0f asked for", held, (double)needs.rank);
        assert_true(needs.checkpoint == 0 && training.checkpoint > 0);
        mu_net_free(net);
        mu_device_close(device);
        mu_comm_free(self);
        mu_config_free(config);
        free(yaml);
    }
}

static void compare(const mu_model_t *model, int tp, int shards, int64_t micro, bool checkpoint)
{
    compare_as(MU_DTYPE_F32, model, tp, shards, micro, checkpoint);
    compare_as(MU_DTYPE_BF16, model, tp, shards, micro, checkpoint);
}

static void memory_is_what_is_allocated(void **state)
{
    (void)state;
    static const mu_residual_t residuals[] = {MU_RESIDUAL_PARALLEL, MU_RESIDUAL_PARALLEL_TIED,
                                              MU_RESIDUAL_SEQUENTIAL};
    for (int r = 0; r < 3; r++)
        for (int tp = 1; tp <= 4; tp *= 2)
            for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
                mu_model_t model = small;
                model.residual = residuals[r];
                compare(&model, tp, 1 + r, 1 + tp, checkpoint);
            }
    mu_model_t other = small;
    other.position = MU_POSITION_LEARNED;
    other.rotary_dims = 0;
    other.tied_head = true;
    compare(&other, 1, 1, 2, false);
    other.vocab = 1 << 18; /* fewer rows of logits at a time than the micro batch has */
    other.hidden = 8;
    compare(&other, 1, 4, 4, false);
    mu_model_t llama = small;
    llama.residual = MU_RESIDUAL_SEQUENTIAL;
    llama.norm = MU_NORM_RMS;
    llama.activation = MU_SWIGLU;
    llama.unbiased = MU_UNBIASED_ALL;
    llama.kv_heads = 2;
    llama.head_dim = llama.rotary_dims = 20;
    compare(&llama, 4, 1, 2, false); /* two key/value heads on four workers */
    llama.unbiased = MU_UNBIASED_DENSE | MU_UNBIASED_MLP;
    compare(&llama, 4, 2, 2, true);
    for (int i = 0; i < 8; i++) {
        llama.qk_norm = i & 1;
        compare(&llama, 1 + (i & 2) / 2, 1 + i / 4, 2, i & 4);
    }
}

/* With adapters, gradients and optimizer state are of what is trained. */
static void memory_of_adapters_is_what_is_allocated(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        mu_model_t model = small;
        model.lora = (mu_lora_t){.rank = 16, .targets = 1U << MU_LORA_QKV | 1U << MU_LORA_FC2, .scale = 1};
        model.hidden_dropout = model.lora.dropout = i & 2 ? 0.1 : 0;
        if (i & 4) {
            model.residual = MU_RESIDUAL_SEQUENTIAL;
            model.norm = MU_NORM_RMS;
            model.unbiased = MU_UNBIASED_ALL;
            model.lora.targets = 1U << MU_LORA_Q | 1U << MU_LORA_V | 1U << MU_LORA_DENSE | 1U << MU_LORA_FC1;
        }
        compare(&model, 1 + (i & 1), 1 + (i & 2) / 2, 2, i & 1);
    }
}

/* A GPU notes a bit for each probability of one layer, in tiles of 128 keys. */
static void memory_of_dropped_probabilities(void **state)
{
    (void)state;
    mu_plan_shape_t shape = {.tp = 2, .micro_batch = 3, .gpu = true};
    mu_plan_memory_t with, without, on_cpu;
    mu_model_t model = small;
    int64_t row = (model.seq_length + 127) / 128 * 16;
    mu_plan_memory(&model, &shape, &without);
    model.attention_dropout = 0.1;
    mu_plan_memory(&model, &shape, &with);
    assert_int_equal(with.workspace - without.workspace, 3 * model.seq_length * model.heads / 2 * row);
    shape.gpu = false;
    mu_plan_memory(&model, &shape, &on_cpu);
    assert_int_equal(on_cpu.workspace, without.workspace);
}

/* At most a 16-bit number for each score of a square of whole tiles, and a few for each query; with grouped queries of
 * one sequence. */
static void memory_of_attention_by_cudnn(void **state)
{
    (void)state;
    mu_plan_shape_t shape = {.tp = 2, .micro_batch = 3, .mixed = true, .gpu = true};
    mu_plan_memory_t with, without;
    mu_model_t model = small;
    for (int grouped = 0; grouped < 2; grouped++) {
        int64_t heads = model.heads / 2, rows = (model.seq_length + 127) / 128 * 128,
                d = mu_model_head_dim(&model);
        int64_t sequences = grouped ? 1 : 3;
        shape.cudnn = false;
        mu_plan_memory(&model, &shape, &without);
        shape.cudnn = true;
        mu_plan_memory(&model, &shape, &with);
        assert_int_equal(with.workspace - without.workspace,
                         sequences * heads * rows * (2 * rows + 8 * d + 8) + (1 << 20) +
                             4 * 3 * model.seq_length * heads);
        model.heads = 16;
        model.head_dim = 8;
        model.rotary_dims = 8;
        model.kv_heads = 4;
    }
}

/* What adapters are for: a 7B on a card of 24 GB, a 20B on one of 48 GB, whose full training needs many. */
static void large_models_fit_one_card_with_adapters(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        double gib;
        unsigned targets;
    } row[] = {{"mistral-7b", 24, (1U << MU_LORA_TARGETS) - 1 - (1U << MU_LORA_QKV)},
               {"pythia-6.9b", 24, 1U << MU_LORA_QKV},
               {"gpt-neox-20b", 48, 1U << MU_LORA_QKV}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *path = mu_format("%s/configs/%s.yml", MU_SOURCE_DIR, row[i].file);
        mu_plan_shape_t shape = {
            .tp = 1, .micro_batch = 1, .checkpoint_activations = true, .mixed = true, .gpu = true};
        mu_plan_memory_t with, without;
        mu_config_t *c;
        assert_int_equal(mu_config_load(&path, 1, NULL, 0, &c), MU_OK);
        mu_model_t model = c->model;
        model.vocab = model.vocab ? model.vocab : 50432;
        model.seq_length = 2048;
        mu_plan_memory(&model, &shape, &without);
        model.lora = (mu_lora_t){.rank = 16, .targets = row[i].targets, .scale = 2};
        mu_plan_memory(&model, &shape, &with);
        if (!((double)mu_plan_memory_total(&with) < MU_PLAN_USABLE * row[i].gib * 0x1p30 &&
              (double)mu_plan_memory_total(&without) > 4 * row[i].gib * 0x1p30))
            fail_msg("%s: %lld bytes with adapters, %lld without", row[i].file,
                     (long long)mu_plan_memory_total(&with), (long long)mu_plan_memory_total(&without));
        mu_config_free(c);
        free(path);
    }
}

/* ---- whole plans ---- */

typedef struct fixture {
    char dir[64], config[96];
} fixture_t;

static int set_up(void **state)
{
    fixture_t *f = mu_calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/muster-plan-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->config, sizeof f->config, "%s/config.yml", f->dir);
    unsetenv("DATA_PATH");
    unsetenv("MODEL_PATH");
    mu_log_level_set(MU_LOG_ERROR);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_t *f = *state;
    mu_remove_tree(f->dir);
    free(f);
    return 0;
}

static void write_config(const fixture_t *f, const char *text)
{
    assert_int_equal(mu_file_replace(f->config, text, strlen(text), 0600), MU_OK);
}

static const char pythia_70m[] =
    "{num-layers: 6, hidden-size: 512, num-attention-heads: 8, seq-length: 2048, max-position-embeddings: "
    "2048,\n"
    " pos-emb: rotary, rotary-pct: 0.25, no-weight-tying: true, gpt-j-residual: true, padded_vocab_size: "
    "50304,\n"
    " optimizer: {type: Adam, params: {lr: 1.0e-3}}, train_micro_batch_size_per_gpu: 4, train-iters: 1000,\n"
    " checkpoint-factor: 100, precision: bfloat16}\n";

/* The published recipe for fine-tuning on two hosts of eight cards, its keys as written. */
static const char recipe_20b[] =
    "{\"num-layers\": 44, \"hidden-size\": 6144, \"num-attention-heads\": 64, \"seq-length\": 2048,\n"
    " \"max-position-embeddings\": 2048, \"pos-emb\": \"rotary\", \"rotary_pct\": 0.25, \"no-weight-tying\": "
    "True,\n"
    " \"gpt_j_residual\": true, \"pipe-parallel-size\": 4, \"model-parallel-size\": 2,\n"
    " \"optimizer\": {\"type\": \"Adam\", \"params\": {\"lr\": 0.97e-4}},\n"
    " \"train_micro_batch_size_per_gpu\": 8, \"gradient_accumulation_steps\": 96, \"train-iters\": 150_000,\n"
    " \"checkpoint-activations\": true, \"checkpoint-factor\": 500, \"fp16\": {\"enabled\": true},\n"
    " \"load\": \"/neox-checkpoints-not-here/pretrained\", \"save\": "
    "\"/neox-checkpoints-not-here/finetuned\",\n"
    " \"log-dir\": \"/mnt/data/logs\"}\n";

static void make(fixture_t *f, const char *card, int64_t workers, char **overrides, int n, mu_plan_t *out)
{
    char *files[] = {f->config};
    mu_plan_query_t query = {.files = files,
                             .nfiles = 1,
                             .overrides = overrides,
                             .noverrides = n,
                             .card = card ? mu_card_find(card) : NULL,
                             .mfu = 0.4,
                             .workers = workers};
    assert_int_equal(mu_plan_make(&query, out), MU_OK);
}

static void warned(const mu_plan_t *plan, const char *word, bool wanted)
{
    const char *text = plan->warnings.data ? plan->warnings.data : "";
    if ((strstr(text, word) != NULL) != wanted)
        fail_msg("'%s' is %s the warnings:\n%s", word, wanted ? "missing from" : "in", text);
}

static void recipe(void **state)
{
    mu_plan_t plan;
    write_config(*state, recipe_20b);
    make(*state, "A100", 16, NULL, 0, &plan);
    assert_int_equal(plan.config->tp, 8);
    assert_int_equal(plan.config->dp, 2);
    assert_int_equal(plan.config->train_batch_size, 1536);
    assert_int_equal(plan.tokens_a_step, 3145728);
    assert_true(plan.parameters == 20554567680);
    assert_true(plan.mixed && plan.fits);
    assert_true(plan.flops_a_step > 3.9e17 && plan.flops_a_step < 4.1e17);
    assert_true(plan.total_seconds > 330 * 86400.0 && plan.total_seconds < 370 * 86400.0);
    assert_int_equal(plan.checkpoints, 300);
    assert_int_equal(plan.first_checkpoint, 500);
    assert_true(plan.checkpoint_bytes == 12 * plan.parameters);
    warned(&plan, "349 days", true);
    warned(&plan, "the first checkpoint comes after", true);
    warned(&plan, "all 300 checkpoints are kept", true);
    warned(&plan, "set finetune: true", true);
    warned(&plan, "log_dir", true);
    mu_plan_free(&plan);
    make(*state, "A40", 16, NULL, 0, &plan);
    assert_false(plan.fits); /* 46 GiB of state alone */
    warned(&plan, "raise model_parallel_size", true);
    mu_plan_free(&plan);
}

static void published_counts(void **state)
{
    /* layers, hidden, heads, padded vocabulary, parameters */
    static const int64_t models[][5] = {{6, 512, 8, 50304, 70426624},
                                        {12, 768, 12, 50304, 162322944},
                                        {24, 2048, 16, 50304, 1414647808},
                                        {36, 5120, 40, 50688, 11846072320}};
    write_config(*state, pythia_70m);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const int64_t *m = models[i];
        mu_plan_t plan;
        char *o[4] = {mu_format("num_layers=%lld", (long long)m[0]),
                      mu_format("hidden_size=%lld", (long long)m[1]),
                      mu_format("num_attention_heads=%lld", (long long)m[2]),
                      mu_format("padded_vocab_size=%lld", (long long)m[3])};
        make(*state, NULL, 0, o, 4, &plan);
        assert_true(plan.parameters == m[4]);
        assert_int_equal(plan.config->workers, 1);
        assert_string_equal(plan.device, "cpu");
        assert_true(plan.mixed); /* the file's fp16 is bf16 on a CPU */
        assert_string_equal(plan.numbers, "bf16");
        mu_plan_free(&plan);
        for (int k = 0; k < 4; k++)
            free(o[k]);
    }
}

static void checkpoints_are_counted(void **state)
{
    static const struct {
        const char *a, *b;
        int64_t count, first;
    } cases[] = {
        {"checkpoint_factor=100", "seed=1", 10, 100},
        {"checkpoint_factor=300", "seed=1", 4, 300}, /* 300 600 900 and the end */
        {"checkpoint_factor=2", "checkpoint_scale=log", 11, 1},
        {"checkpoint_factor=500", "extra_save_iters=[7, 500, 1000]", 3, 7},
        {"checkpoint_factor=500", "extra_save_iters=[0, 1, 500]", 4, 1},
        {"checkpoint_factor=5000", "seed=1", 1, 1000},
    };
    write_config(*state, pythia_70m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_plan_t plan;
        char *o[] = {mu_strdup(cases[i].a), mu_strdup(cases[i].b)};
        make(*state, NULL, 1, o, 2, &plan);
        if (plan.checkpoints != cases[i].count || plan.first_checkpoint != cases[i].first)
            fail_msg("%s %s: %lld checkpoints, the first at %lld", o[0], o[1], (long long)plan.checkpoints,
                     (long long)plan.first_checkpoint);
        mu_plan_free(&plan);
        free(o[0]);
        free(o[1]);
    }
}

/* CPUs have no fp16 products: the plan says what fp16 becomes, and why. A GPU has them. */
static void fp16_on_cpus_is_said(void **state)
{
    static const char *const where[] = {"muster.device=cpu", "muster.device=cuda"};
    write_config(*state, pythia_70m);
    for (int gpu = 0; gpu < 2; gpu++) {
        mu_plan_t plan;
        char *o[] = {"precision=fp16", mu_strdup(where[gpu])};
        make(*state, NULL, 1, o, 2, &plan);
        assert_string_equal(plan.numbers, gpu ? "fp16" : "bf16");
        assert_true((strstr(mu_config_notes(plan.config), "fp16 runs as bf16") != NULL) == !gpu);
        mu_plan_free(&plan);
        free(o[1]);
    }
}

static void batch_sizes_imply_workers(void **state)
{
    mu_plan_t plan;
    char *o[] = {"train_batch_size=64", "gradient_accumulation_steps=2"};
    write_config(*state, pythia_70m);
    make(*state, NULL, 0, o, 2, &plan);
    assert_int_equal(plan.config->workers, 8); /* 64 = 4 x 2 x 8 */
    mu_plan_free(&plan);
}

static void the_volume_of_save_is_measured(void **state)
{
    fixture_t *f = *state;
    mu_plan_t plan;
    char *o[] = {mu_format("save=%s/not/yet/there", f->dir), "checkpoint_factor=1", "train_iters=1000000000",
                 "keep_last_n_checkpoints=2"};
    write_config(f, pythia_70m);
    make(f, NULL, 1, o, 3, &plan);
    assert_true(plan.volume_bytes > 0 && plan.volume_free <= plan.volume_bytes);
    warned(&plan, "is full at checkpoint", true);
    mu_plan_free(&plan);
    make(f, NULL, 1, o, 4, &plan);
    if (plan.volume_free > 4 * plan.checkpoint_bytes)
        warned(&plan, "is full at checkpoint", false);
    mu_plan_free(&plan);
    free(o[0]);
}

/* ---- the verb ---- */

/* Runs the verb; what it wrote to stdout goes to `out`, which the caller frees. */
static mu_status_t verb(fixture_t *f, int argc, char **argv, char **out)
{
    char *path = mu_path_join(f->dir, "out");
    mu_buf_t text = MU_BUF_INIT;
    fflush(stdout);
    int keep = dup(STDOUT_FILENO), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    mu_status_t status = mu_cmd_plan(argc, argv);
    fflush(stdout);
    dup2(keep, STDOUT_FILENO);
    close(fd);
    close(keep);
    mu_file_read(path, 1 << 20, &text);
    mu_buf_adds(&text, "");
    free(path);
    *out = mu_buf_detach(&text);
    return status;
}

static void quiet(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    mu_buf_addf(arg, "%s\n", line);
}

static void the_verb(void **state)
{
    fixture_t *f = *state;
    char *out;
    mu_buf_t log = MU_BUF_INIT;
    mu_log_sink_set(quiet, &log);
    write_config(f, pythia_70m);
    char *plain[] = {"plan", f->config, NULL};
    assert_int_equal(verb(f, 2, plain, &out), MU_OK);
    assert_non_null(strstr(out, "70426624 parameters"));
    assert_non_null(strstr(out, "(bf16, fp32 masters)"));
    free(out);
    char *fits[] = {"plan", f->config, "--gpu", "h100", "--json", "--mfu=0.5", NULL};
    assert_int_equal(verb(f, 6, fits, &out), MU_OK);
    assert_non_null(strstr(out, "\"card\": \"H100\""));
    assert_non_null(strstr(out, "\"fits\": true"));
    free(out);
    char *tight[] = {"plan", f->config, "--device-memory", "256MiB", NULL};
    assert_int_equal(verb(f, 4, tight, &out), MU_CONFIG);
    assert_non_null(strstr(out, "does not fit"));
    assert_non_null(strstr(log.data, "does not fit the device's memory"));
    free(out);
    char *contrary[] = {"plan", f->config, "--gpu", "h100", "muster.device=cpu", NULL};
    assert_int_equal(verb(f, 5, contrary, &out), MU_CONFIG);
    free(out);
    char *unknown[] = {"plan", f->config, "--gpu", "H900", NULL};
    assert_int_equal(verb(f, 4, unknown, &out), MU_USAGE);
    free(out);
    char *lacks[] = {"plan", f->config, "--workers", NULL};
    assert_int_equal(verb(f, 3, lacks, &out), MU_USAGE);
    free(out);
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&log);
}

static void cards_have_names(void **state)
{
    (void)state;
    assert_ptr_equal(mu_card_find("a100 40gb"), mu_card_find("A100-40GB"));
    assert_ptr_not_equal(mu_card_find("A100"), mu_card_find("A100-40GB"));
    assert_null(mu_card_find(""));
    assert_null(mu_card_find("A1000"));
    for (int i = 0; mu_card_at(i); i++)
        assert_ptr_equal(mu_card_find(mu_card_at(i)->name), mu_card_at(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_what_is_allocated),
        cmocka_unit_test(memory_of_adapters_is_what_is_allocated),
        cmocka_unit_test(memory_of_dropped_probabilities),
        cmocka_unit_test(memory_of_attention_by_cudnn),
        cmocka_unit_test(large_models_fit_one_card_with_adapters),
        cmocka_unit_test(use_is_what_is_allocated),
        cmocka_unit_test(cards_have_names),
        cmocka_unit_test_setup_teardown(recipe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(published_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fp16_on_cpus_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(batch_sizes_imply_workers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_volume_of_save_is_measured, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_verb, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
