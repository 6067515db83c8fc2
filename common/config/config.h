/*
 * The configuration: GPT-NeoX YAML files, our `muster:` settings, and key=value from the command line, in one
 * typed struct that one table of keys fills (config_keys.c).
 *
 * Calling sequence:
 *     mu_config_t *config;
 *     mu_config_load(paths, npaths, overrides, noverrides, &config);    reads, merges, checks
 *     mu_config_resolve(config, &world);                                batch and layout for a world
 *     ... read fields, through a pointer to const ...
 *     mu_config_settle(&config, &facts);                                a run has found out more
 *     mu_config_free(config);
 *
 * A load that finds several mistakes logs them all and returns the first one's status. Of two files that
 * write one key none wins: that is an error. A command line's key=value wins over files, the last over those
 * before it. A path without a suffix means PATH.yml when PATH itself is not there.
 * Every message names file:line:column. Errors: MU_CONFIG (78), MU_NOINPUT (66, a file is missing), MU_DATA
 * (65, not UTF-8), MU_USAGE (2, an override is not key=value).
 */
#ifndef MU_COMMON_CONFIG_H
#define MU_COMMON_CONFIG_H

#include "common/buf.h"
#include "common/log.h"
#include "common/model.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum mu_precision { MU_FP32, MU_BF16, MU_FP16 } mu_precision_t;
typedef enum mu_decay_style {
    MU_DECAY_LINEAR,
    MU_DECAY_COSINE,
    MU_DECAY_EXPONENTIAL,
    MU_DECAY_CONSTANT
} mu_decay_style_t;
typedef enum mu_transport_choice {
    MU_TRANSPORT_AUTO,
    MU_TRANSPORT_RDMA,
    MU_TRANSPORT_TCP
} mu_transport_choice_t;
/* Hugging Face's words for classes of models, in the order of muster.model_type. */
typedef enum mu_model_type {
    MU_TYPE_AUTO,
    MU_TYPE_GPT_NEOX,
    MU_TYPE_GPT2,
    MU_TYPE_LLAMA,
    MU_TYPE_MISTRAL,
    MU_TYPE_QWEN2,
    MU_TYPE_QWEN3
} mu_model_type_t;
typedef enum mu_choice_of_three { MU_CHOICE_AUTO, MU_CHOICE_ON, MU_CHOICE_OFF } mu_choice_of_three_t;
typedef enum mu_tune_choice { MU_TUNE_OFF, MU_TUNE_AUTO } mu_tune_choice_t;
typedef enum mu_attention_choice {
    MU_ATTENTION_AUTO,
    MU_ATTENTION_OWN,
    MU_ATTENTION_CUDNN
} mu_attention_choice_t;
typedef enum mu_device_choice { MU_DEVICE_AUTO, MU_DEVICE_CPU, MU_DEVICE_CUDA } mu_device_choice_t;

/* A list of numbers; value is NULL where the key was not given. */
typedef struct mu_reals {
    double *value;
    int count;
} mu_reals_t;

/* Of fp16 training: common/config/loss_scale.h says how it is used. */
typedef struct mu_loss_scale_rule {
    double fixed; /* 0: dynamic */
    double least;
    int64_t initial_power, window, hysteresis;
    bool consecutive;
} mu_loss_scale_rule_t;

/* Strings are owned by the config; NULL where a key was not given and has no default. */
typedef struct mu_config {
    mu_model_t model; /* vocab 0 until known: mu_config_padded_vocab() */
    mu_precision_t precision;
    mu_loss_scale_rule_t loss_scale;

    /* parallelism, as written; tp = model_parallel_size * max(1, pipe_parallel_size) */
    int64_t model_parallel_size, pipe_parallel_size;
    int64_t padded_vocab_size, make_vocab_size_divisible_by; /* padded_vocab_size 0: not given */
    int64_t model_parallel_in_files; /* model_parallel_size as the files say, before overrides */

    /* batch; 0 where not given. mu_config_resolve() makes all three positive and consistent. */
    int64_t train_batch_size, micro_batch, accumulation;

    /* optimizer */
    double lr, beta1, beta2, eps, weight_decay, gradient_clipping; /* clipping 0: off */
    int64_t zero_stage;                                            /* 0 or 1: the same numbers */
    /* schedule */
    mu_decay_style_t lr_decay_style;
    int64_t lr_decay_iters; /* 0: not given */
    double lr_decay_fraction, min_lr, warmup;
    bool override_lr_scheduler, use_checkpoint_lr_scheduler;

    /* loop */
    int64_t train_iters, train_epochs; /* 0: not given */
    int64_t eval_interval, eval_iters, log_interval, exit_interval;
    int64_t checkpoint_factor; /* 0: never */
    bool checkpoint_scale_log;
    int64_t *extra_save_iters;
    int extra_save_count;
    int64_t keep_last_n_checkpoints; /* 0: all */
    int64_t seed;
    bool finetune, no_load_optim, no_save_optim, eod_mask_loss, checkpoint_activations;

    /* data and files */
    char *data_path, *split, *vocab_file, *merge_file, *save, *load, *hostfile;
    char **train_data_paths, **valid_data_paths, **test_data_paths; /* NULL-terminated, or NULL */
    char **train_label_data_paths, **valid_label_data_paths,
        **test_label_data_paths; /* one a path, or NULL */
    int pack_impl;               /* mu_packing_t (dataset/order/pack.h) */
    bool allow_chopped, reset_attention_mask, reset_position_ids;
    mu_reals_t train_data_weights, valid_data_weights, test_data_weights; /* one a path */
    bool weight_by_num_documents;
    double weighted_sampler_alpha;

    /* trackers */
    char *tensorboard_dir, *wandb_project, *wandb_group, *wandb_team, *wandb_run_name;
    bool use_wandb;

    /* generation defaults */
    double temperature, top_p;
    int64_t top_k, maximum_tokens;

    /* muster: */
    struct {
        double ready_timeout, lease_timeout, hang_timeout; /* seconds; hang_timeout 0: auto */
        int64_t min_hosts;                                 /* 0: all */
        int64_t max_restarts;
        int64_t threads_per_worker; /* 0: auto */
        mu_device_choice_t device;
        mu_transport_choice_t transport; /* of NCCL between hosts */
        mu_tune_choice_t tune;           /* ways of products: measured, or the defaults */
        mu_attention_choice_t attention; /* on GPUs */
        bool graphs;                     /* of generation's steps, where a device has them */
        char *ssh_args, *controller_host;
        mu_log_level_t log_level;
        int64_t lookahead; /* global batches the controller sends ahead */
        char *end_tokens; /* ids that end a text, "98, 100" (mu_config_end_tokens()); NULL: the tokenizer's */
        int64_t early_stop_patience;                    /* evaluations; 0: off */
        char *chat_template, *chat_begin, *chat_system; /* dataset/chat/chat_template.h; NULL: not given */
        char *chat_prefix[3];                           /* of `plain`: system, user, assistant */
        int model_type;                                 /* mu_model_type_t */
        bool overlap;                          /* gradients are reduced over dp while backward goes on */
        char *metrics_listen;                  /* for Prometheus; NULL: nobody listens */
        double track_wait;                     /* seconds */
        mu_choice_of_three_t async_checkpoint; /* checkpoints are written beside the steps */
        bool peer_checkpoint;                  /* copies of the state in the memory of other hosts, */
        int64_t peer_checkpoint_factor;        /* every so many steps */
        int64_t lora_rank;                     /* 0: no adapters; the rest is in model.lora */
        double lora_alpha;                     /* 0: lora_rank */
        double lora_dropout;
        bool lora_rslora;
        char **lora_targets;         /* NULL: the family's (config_lora.c) */
        char *lora_base;             /* where an adapter's base lies now; NULL: where the checkpoint says */
        char **no_decay, **lr_scale; /* mu_config_decays(), mu_config_lr_scale(); NULL: not given */
    } muster;

    /* set by mu_config_resolve() */
    int tp, dp;
    int workers; /* tp * dp; less than the world's when the batch does not divide */

    struct mu_config_source *source; /* raw text, origin of every key, notes; config.c only */
} mu_config_t;

typedef struct mu_world {
    int workers;          /* ranks without the controller; 0: unknown, check only what fits no world */
    int slots_per_host;   /* 0: unknown; tp must not exceed it */
    bool device_has_fp16; /* false: fp16 runs as bf16 (fp32 on a device without bf16) */
} mu_world_t;

/* Whether an argument of a command line is key=value (and not the path of a file). */
bool mu_config_is_override(const char *argument);

mu_status_t mu_config_load(char *const *paths, int npaths, char *const *overrides, int noverrides,
                           mu_config_t **out);
/* The same from one file's text, as a checkpoint carries it; `name` stands for the file in messages. Nothing
 * is taken from the environment. */
mu_status_t mu_config_load_text(const char *name, const char *text, mu_config_t **out);
/* The same for a model that is to be used, here and now: what its training knew of its machines
 * (mu_config_elsewhere) is forgotten, then key=value arguments win. */
mu_status_t mu_config_load_trained(const char *name, const char *text, char *const *overrides, int noverrides,
                                   mu_config_t **out);
/* key=value that give the keys about machines their defaults; ends with NULL. */
extern const char *const mu_config_elsewhere[];
/* Makes batch and layout fit a world, and says what it decided (mu_config_notes). May be called again, for
 * another world or once model.vocab is known. With world->workers 0 tp is set and dp, workers, and those of
 * the three batch sizes that depend on dp, stay 0. Errors: MU_CONFIG, with the layouts that fit. */
mu_status_t mu_config_resolve(mu_config_t *config, const mu_world_t *world);
void mu_config_free(const mu_config_t *config); /* NULL is fine */

/* The course of the learning rate, as the keys say it together. */
typedef struct mu_lr_course {
    int32_t style; /* mu_decay_style_t */
    int32_t padding;
    int64_t iters; /* over which it decays */
    double lr, min_lr, warmup;
} mu_lr_course_t;

/* What is found out after a config has been resolved. A member that is zero leaves the key as it was written. */
typedef struct mu_config_facts {
    int64_t vocab;             /* rows of the embedding */
    int64_t padded_vocab_size; /* the key, for a model whose vocabulary grew */
    int64_t seq_length;
    int64_t train_iters;   /* train_epochs in steps; that key is then not given */
    int64_t threads;       /* muster.threads_per_worker */
    mu_lr_course_t course; /* iters 0: as written; else which keys it was written with is forgotten */
    bool never_evaluates;  /* the data has no validation part */
    const char *end_tokens, *chat_template, *chat_begin, *chat_system, *chat_prefix[3]; /* NULL: as written */
} mu_config_facts_t;
/* Nobody changes a config that is resolved. Where a run or a model finds out more, *config becomes another one that has
 * the facts in their places and owns the one before: pointers to that stay valid until mu_config_free(*config), but
 * do not see the facts. The new one cannot be resolved again. */
void mu_config_settle(const mu_config_t **config, const mu_config_facts_t *facts);

/* The keys without which no run can begin and which are not given, separated by ", "; NULL when all are
 * there. mu_config_resolve() refuses such a config. Valid until the next call. */
const char *mu_config_missing(const mu_config_t *config);

/* Rows of the embedding for a tokenizer of `vocab` ids: padded_vocab_size if given (error when smaller), else
 * NeoX's formula with model_parallel_size as the files write it. Errors: MU_CONFIG. */
mu_status_t mu_config_padded_vocab(const mu_config_t *config, int64_t vocab, int64_t *out);

/* The layers that a name of muster.lora_targets stands for, as bits of mu_lora_t.targets; 0: `model` has none of it. */
unsigned mu_lora_targets(const mu_model_t *model, const char *name);

/* The formula alone, whatever padded_vocab_size says. */
int64_t mu_config_pad_vocab(const mu_config_t *config, int64_t vocab);

/* Whether weight decay applies to a parameter: to matrices, or by muster.no_decay to what that does not name. */
bool mu_config_decays(const mu_config_t *config, const mu_tensor_t *tensor);
/* What the learning rate of a parameter is multiplied by: the factor of the first entry of muster.lr_scale that names
 * it, else 1. */
double mu_config_lr_scale(const mu_config_t *config, const mu_tensor_t *tensor);

/* The ids of muster.end_tokens, at most MU_END_TOKENS; 0: not given. */
enum { MU_END_TOKENS = 16 };
int mu_config_end_tokens(const mu_config_t *config, int32_t out[MU_END_TOKENS]);

/* What `load` means to a run whose directory is `run_dir` (NULL: none is known). */
typedef enum mu_load {
    MU_LOAD_NONE, /* nothing: it is not set, or names the run directory, which is looked at first */
    MU_LOAD_SAVE, /* what is there, which may be nothing: gpt-neox's own files name one path for load and save */
    MU_LOAD_OTHER /* what is there; that there is no checkpoint is an error */
} mu_load_t;
mu_load_t mu_config_load_of(const mu_config_t *config, const char *run_dir);

/* Whether the user wrote the key (either spelling), in a file or as an override. */
bool mu_config_given(const mu_config_t *config, const char *key);
/* Where a key came from: "quickstart.yml:12:3", "command line", "default", "inferred". Never NULL. */
const char *mu_config_origin(const mu_config_t *config, const char *key);

/* Things to be reported to the user once (accepted keys without effect, pipe stages mapped to tp, ...): one line
 * each, separated by newlines. More than four keys without effect are counted, not named. Valid until the next call of
 * this or the next function. */
const char *mu_config_notes(const mu_config_t *config);
/* The same, with the name of every key without effect: what `muster config` prints. */
const char *mu_config_notes_in_full(const mu_config_t *config);

/* Adds the note, and a newline, when the configuration wants fp16 and the device has none; also one of the notes above,
 * where mu_config_resolve() knew the device. */
void mu_config_fp16_note(const mu_config_t *config, bool device_has_fp16, mu_buf_t *out);

/* Effective values as YAML that mu_config_load() reads back to the same config; with `origins`, each with a
 * comment. */
void mu_config_write_yaml(const mu_config_t *config, bool origins, mu_buf_t *out);
/* {"key": {"value": ..., "origin": "..."}}; stable. */
void mu_config_write_json(const mu_config_t *config, mu_buf_t *out);
/* One line a key of the table: name, type, class, default, what it does. */
void mu_config_write_keys(mu_buf_t *out);
/* Digest of what must agree on every host: the effective values. out: MU_DIGEST_HEX bytes. */
void mu_config_digest(const mu_config_t *config, char *out);

mu_lr_course_t mu_config_lr_course(const mu_config_t *config);

/* The learning rate for the update that follows `done` finished updates (gpt-neox megatron/learning_rates.py;
 * clamped past the end, where gpt-neox's cosine rises again). */
double mu_config_lr(const mu_config_t *config, int64_t done);

#endif
