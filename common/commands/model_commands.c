#include "common/commands/model_commands.h"
#include "common/config/config.h"
#include "common/log.h"

enum { WORKERS_MAX = 1 << 20, THREADS_MAX = 1024, TOKENS_MAX = 1 << 20, BENCH_MAX = 1 << 20 };

mu_status_t mu_eval_args_finish(mu_eval_args_t *args)
{
    if (!args->data && !args->labelled && !args->feedback)
        return mu_fail(MU_USAGE, "eval: --data, --labelled or --feedback is wanted: see muster eval --help");
    if (args->feedback && (args->data || args->labelled || args->best || args->on.models.count > 0))
        return mu_fail(MU_USAGE,
                       "eval: --feedback FILE is measured alone: no MODEL, --data, --labelled or --best");
    if (!args->feedback && args->on.models.count == 0)
        return mu_fail(MU_USAGE, "eval: no MODEL given: see muster eval --help");
    for (int i = 0; i < args->gate_words.count; i++) {
        char *word = args->gate_words.item[i];
        if (args->ngates == MU_GATES_MAX)
            return mu_fail(MU_USAGE, "--gate '%s': %d gates are the most", word, MU_GATES_MAX);
        MU_TRY(mu_gate_parse(word, &args->gates[args->ngates++]));
    }
    return mu_gates_check(args->gates, args->ngates, args->data, args->labelled, args->feedback);
}

/* The last rows of both tables. */
#define SHARED_ROWS(T)                                                                                       \
    MU_OPT("--threads", "N", MU_OPTION_INT, offsetof(T, on.threads),                                         \
           "of a worker on CPUs; default: all cores", .min = 1, .max = THREADS_MAX),                         \
        MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(T, on.keys),                                 \
               "wins over the configuration that the checkpoint carries: precision=bfloat16. What that "     \
               "says about machines is not taken: muster.device is auto", ),                                 \
        MU_OPT("--hosts", "h1:8,h2:8", MU_OPTION_TEXT, offsetof(T, on.hosts),                                \
               "hosts and their slots, as of `muster run`", .launcher = true),                               \
        MU_OPT("--hostfile", "FILE", MU_OPTION_TEXT, offsetof(T, on.hostfile),                               \
               "a file of hosts, in place of --hosts", .choices = "FILE", .launcher = true),                 \
        MU_OPT("--workers", "N", MU_OPTION_INT, offsetof(T, on.workers), "how many workers", .min = 1,       \
               .max = WORKERS_MAX, .launcher = true),                                                        \
        MU_OPT("--run-dir", "DIR", MU_OPTION_TEXT, offsetof(T, on.run_dir),                                  \
               "for logs; default: beside the checkpoints, and removed after success", .choices = "DIR",     \
               .launcher = true),                                                                            \
        MU_OPT("--check", NULL, MU_OPTION_FLAG, offsetof(T, on.check), NULL, ), MU_OPT_END

static const mu_option_t eval_options[] = {
    MU_OPT("MODEL", NULL, MU_OPTION_OPERANDS, offsetof(mu_eval_args_t, on.models),
           "a checkpoint, RUN, RUN@best, RUN@STEP; none with --feedback", ),
    MU_OPT("--data", "DIR", MU_OPTION_TEXT, offsetof(mu_eval_args_t, data),
           "a prepared data set, or the prefix of a .bin/.idx pair", .choices = "DIR"),
    MU_OPT("--split", "NAME", MU_OPTION_TEXT, offsetof(mu_eval_args_t, split),
           "train, valid or test (default: valid)", .choices = "train|valid|test"),
    MU_OPT("--seq-length", "N", MU_OPTION_INT, offsetof(mu_eval_args_t, seq_length),
           "tokens of a sequence (default: the configuration's seq_length, which an import from Hugging Face "
           "sets to max_position_embeddings)",
           .min = 1, .max = 0x1p53),
    MU_OPT(
        "--labelled", "FILE", MU_OPTION_TEXT, offsetof(mu_eval_args_t, labelled),
        "JSON Lines: {\"prompt\": TEXT, \"choices\": [TEXT, ...], \"answer\": INDEX or TEXT}. acc compares "
        "the choices' log-likelihoods after the prompt, acc_norm these divided by the characters of each "
        "choice, as lm-evaluation-harness counts them",
        .choices = "FILE"),
    MU_OPT("--delimiter", "TEXT", MU_OPTION_TEXT, offsetof(mu_eval_args_t, delimiter),
           "between prompt and choice (default: one space)", ),
    MU_OPT("--feedback", "FILE", MU_OPTION_TEXT, offsetof(mu_eval_args_t, feedback),
           "in place of a model: the mean reward in the feedback that `muster serve` kept",
           .choices = "FILE"),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(mu_eval_args_t, json),
           "one object: loss, ppl, bits_per_byte (null when the bytes of text are unknown), tokens, acc, "
           "acc_norm, ...; of several models or with --best: models, a list, and best", ),
    MU_OPT("--gate", "EXPR", MU_OPTION_WORDS, offsetof(mu_eval_args_t, gate_words),
           "what it must reach, else exit code 87: loss, ppl, bits_per_byte, tokens, acc, acc_norm or "
           "reward, then <, "
           "<=, > or >=, and a number: --gate 'ppl<=16.53' --gate 'acc>=0.8'. All must hold, for each model; "
           "with --best for the best alone", ),
    MU_OPT(
        "--best", NULL, MU_OPTION_FLAG, offsetof(mu_eval_args_t, best),
        "of several models, which has the least loss (without --data: the highest acc), and by how much", ),
    SHARED_ROWS(mu_eval_args_t)};

const mu_command_t mu_eval_command = {
    .name = "eval",
    .summary = "mean loss of a checkpoint on a data set",
    .about =
        "With --data: the mean loss per token of a model over all consecutive, non-overlapping sequences of "
        "seq_length tokens of a split; the incomplete last one is left out. That is another number than a "
        "run's valid_loss, which is the mean over eval_iters global batches of the validation order. With "
        "--labelled: the share of examples whose answer is the likeliest choice.",
    .options = eval_options,
    .notes =
        "It computes in the configuration's precision, on a GPU where there is one (muster.device). With "
        "--hosts, --hostfile or --workers it starts N workers as `muster run` does, in the layout that "
        "model_parallel_size=N asks for (default: the checkpoint's), with the checkpoint and the run "
        "directory "
        "on one volume everywhere; without them it is one process on one device.\n\n"
        "The result is also kept as RUN/eval/SPLIT-DATAVERSION.json (labelled-DIGEST.json) when the model is "
        "a "
        "checkpoint of a run.",
    .exits = "0; 2 bad command line; 65 a file is damaged, or the loss is no finite number; 66 a file is "
             "missing; 78 they do not fit together; 87 a gate is not reached; with workers also those of "
             "`muster run`",
    .is_override = mu_config_is_override};

static const mu_option_t generate_options[] = {
    MU_OPT("CKPT", NULL, MU_OPTION_OPERANDS, offsetof(mu_generate_t, on.models),
           "a checkpoint, RUN, RUN@best, RUN@STEP", .required = true, .most = 1),
    MU_OPT("--prompt", "TEXT", MU_OPTION_TEXT, offsetof(mu_generate_t, prompt),
           "may be empty where the tokenizer has <|endoftext|>: then that is the context", .required = true),
    MU_OPT("--prompt-file", "FILE", MU_OPTION_TEXT, offsetof(mu_generate_t, prompt_file),
           "the prompt is what this file holds, of 128 KiB at most; -: standard input", .choices = "FILE",
           .launcher = true),
    MU_OPT("--chat", NULL, MU_OPTION_FLAG, offsetof(mu_generate_t, chat),
           "the prompt is a user's message, or a JSON object with messages, put into the model's chat "
           "template; the "
           "answer alone is printed", ),
    MU_OPT("--max-new-tokens", "N", MU_OPTION_INT, offsetof(mu_generate_t, max_new_tokens),
           "default: the configuration's maximum_tokens", .min = 0, .max = TOKENS_MAX),
    MU_OPT("--min-new-tokens", "N", MU_OPTION_INT, offsetof(mu_generate_t, min_new_tokens),
           "so many tokens come before an end (0)", .min = 0, .max = TOKENS_MAX),
    MU_OPT("--stop", "TEXT", MU_OPTION_WORDS, offsetof(mu_generate_t, stops),
           "ends the text before these characters; may be given several times", ),
    MU_OPT("--temperature", "T", MU_OPTION_F64, offsetof(mu_generate_t, temperature),
           "0: greedy, unless top-k or top-p is given", .min = 0, .max = 1e9),
    MU_OPT("--top-k", "K", MU_OPTION_INT, offsetof(mu_generate_t, top_k),
           "draw among the K likeliest; 0: all", .min = 0, .max = INT32_MAX),
    MU_OPT("--top-p", "P", MU_OPTION_F64, offsetof(mu_generate_t, top_p),
           "draw among the likeliest that together have probability P; 0: all", .min = 0, .max = 1),
    MU_OPT("--seed", "S", MU_OPTION_INT, offsetof(mu_generate_t, seed), "default: 0", .min = 0,
           .max = 0x1p63),
    MU_OPT(
        "--bench", "N", MU_OPTION_INT, offsetof(mu_generate_t, bench),
        "instead of the text: how long loading, the first token and each further token of N requests take, "
        "one after the other, all of --max-new-tokens; one process only",
        .min = 1, .max = BENCH_MAX),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(mu_generate_t, json), "with --bench: one object", ),
    SHARED_ROWS(mu_generate_t)};

const mu_command_t mu_generate_command = {
    .name = "generate",
    .summary = "text from a checkpoint and a prompt",
    .about = "Prints the prompt and what the model writes after it, up to <|endoftext|> or N tokens. Greedy "
             "unless "
             "a temperature, top-k or top-p is given. The same seed gives the same text.",
    .options = generate_options,
    .notes =
        "It computes in the configuration's precision, on a GPU where there is one (muster.device), in one "
        "process on one device. A model that does not fit one is divided: --workers N starts N workers as "
        "`muster run` does, with model_parallel_size=N; with --hosts or --hostfile alone it is as wide as in "
        "training. Checkpoint and run directory are then on one volume everywhere, and the text is printed "
        "when it is whole.",
    .exits =
        "0; 2 bad command line; 65 a file is damaged; 66 a file is missing, or the model has no tokenizer; "
        "with workers also those of `muster run`",
    .is_override = mu_config_is_override};
