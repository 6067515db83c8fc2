#include "common/commands/serve_commands.h"
#include "common/config/config.h"
#include "common/pages.h"

enum {
    SLOTS_MAX = 1024,
    TOKENS_MAX = 1 << 20,
    QUEUE_MAX = 1 << 16,
    WORKERS_MAX = 1 << 20,
    DRAIN_MAX = 86400
};

static const mu_option_t options[] = {
    MU_OPT("MODEL", NULL, MU_OPTION_OPERANDS, offsetof(mu_serve_args_t, on.models),
           "a checkpoint, RUN, RUN@best, RUN@STEP", .required = true, .most = 1),
    MU_OPT("--listen", "ADDRESS:PORT", MU_OPTION_TEXT, offsetof(mu_serve_args_t, listen),
           "default: " MU_SERVE_LISTEN
           "; port 0: any, which the log names. An address that other machines reach "
           "wants --token-file or --no-auth",
           .launcher = true),
    MU_OPT("--token-file", "FILE", MU_OPTION_TEXT, offsetof(mu_serve_args_t, token_file),
           "whoever asks must send `Authorization: Bearer` with what stands there; the health paths are open",
           .choices = "FILE", .launcher = true),
    MU_OPT("--no-auth", NULL, MU_OPTION_FLAG, offsetof(mu_serve_args_t, no_auth),
           "everyone who reaches the address may ask", .launcher = true),
    MU_OPT("--name", "NAME", MU_OPTION_TEXT, offsetof(mu_serve_args_t, name),
           "what clients call the model (default: the run's directory, else the checkpoint's)",
           .launcher = true),
    MU_OPT("--chat-template", "NAME", MU_OPTION_TEXT, offsetof(mu_serve_args_t, chat_template),
           "for chats: a built-in template (default: muster.chat_template of the model, else that of its "
           "files, where "
           "it is one of them)",
           .launcher = true),
    MU_OPT("--follow", NULL, MU_OPTION_FLAG, offsetof(mu_serve_args_t, follow),
           "of RUN@best: when the run finds a better model, that is loaded beside the old one and takes over",
           .launcher = true),
    MU_OPT("--slots", "N", MU_OPTION_INT, offsetof(mu_serve_args_t, slots),
           "sequences that are computed at once (default: 8)", .min = 1, .max = SLOTS_MAX),
    MU_OPT(
        "--slot-tokens", "N", MU_OPTION_INT, offsetof(mu_serve_args_t, slot_tokens),
        "prompt and answer of one sequence at most; N times the slots is the key/value cache (default: what "
        "the model takes, 2048 at most)",
        .min = 2, .max = TOKENS_MAX),
    MU_OPT("--chunk", "N", MU_OPTION_INT, offsetof(mu_serve_args_t, chunk),
           "tokens of prompts in one step (default: 64): fewer hold up running answers less", .min = 1,
           .max = TOKENS_MAX),
    MU_OPT("--queue", "N", MU_OPTION_INT, offsetof(mu_serve_args_t, queue),
           "sequences that may wait for a slot; beyond that: 429 (default: 64)", .min = 0, .max = QUEUE_MAX),
    MU_OPT("--max-new-tokens", "N", MU_OPTION_INT, offsetof(mu_serve_args_t, max_new_tokens),
           "of one answer at most (default: 4096)", .min = 1, .max = TOKENS_MAX, .launcher = true),
    MU_OPT("--body", "SIZE", MU_OPTION_SIZE, offsetof(mu_serve_args_t, body),
           "of one request at most (default: 1M)", .min = 1024, .max = 1 << 30, .launcher = true),
    MU_OPT("--drain", "SECONDS", MU_OPTION_INT, offsetof(mu_serve_args_t, drain_s),
           "after SIGTERM running requests have so long to end (default: 30)", .min = 0, .max = DRAIN_MAX,
           .launcher = true),
    MU_OPT("--feedback", "FILE", MU_OPTION_TEXT, offsetof(mu_serve_args_t, feedback),
           "where feedback is kept (default: feedback.jsonl of the model's run)", .choices = "FILE",
           .launcher = true),
    MU_OPT("--feedback-size", "SIZE", MU_OPTION_SIZE, offsetof(mu_serve_args_t, feedback_size),
           "from which on that file is set aside and a new one begins (default: 64M)", .min = 4096,
           .max = 0x1p40, .launcher = true),
    MU_OPT("--threads", "N", MU_OPTION_INT, offsetof(mu_serve_args_t, on.threads),
           "of a worker on CPUs; default: all cores", .min = 1, .max = 1024),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(mu_serve_args_t, on.keys),
           "wins over the configuration that the checkpoint carries: precision=bfloat16", ),
    MU_OPT("--workers", "N", MU_OPTION_INT, offsetof(mu_serve_args_t, on.workers),
           "divide the model among N workers, started as those of `muster run`", .min = 1, .max = WORKERS_MAX,
           .launcher = true),
    MU_OPT("--hosts", "h1:8,h2:8", MU_OPTION_TEXT, offsetof(mu_serve_args_t, on.hosts),
           "hosts of the workers and their slots; this machine must be the first", .launcher = true),
    MU_OPT("--hostfile", "FILE", MU_OPTION_TEXT, offsetof(mu_serve_args_t, on.hostfile),
           "a file of hosts, in place of --hosts", .choices = "FILE", .launcher = true),
    MU_OPT("--run-dir", "DIR", MU_OPTION_TEXT, offsetof(mu_serve_args_t, on.run_dir),
           "of the workers' logs; default: beside the checkpoints", .choices = "DIR", .launcher = true),
    MU_OPT("--engine", "SOCKET", MU_OPTION_TEXT, offsetof(mu_serve_args_t, engine), NULL, ),
    MU_OPT("--check", NULL, MU_OPTION_FLAG, offsetof(mu_serve_args_t, on.check), NULL, ),
    MU_OPT_END};

const mu_command_t mu_serve_command = {
    .name = "serve",
    .summary = "answer completions over HTTP",
    .about = "Answers OpenAI's /v1/completions, /v1/chat/completions and /v1/models, Seldon's /predict and "
             "/send-feedback, the Open Inference Protocol's /v2, and /metrics. Requests share the steps of "
             "one model; "
             "each gets the text that `muster generate` writes for its prompt, options and seed.",
    .options = options,
    .notes =
        "It is ready when GET /v2/health/ready says so: after the model is loaded and one token was written. "
        "SIGTERM ends it: new requests get 503, running ones end within --drain. " MU_PAGE(
            "serve") " has the "
                     "paths.",
    .exits =
        "0 after SIGTERM; 2 bad command line; 65 a file is damaged; 66 a file is missing; 69 the address "
        "cannot be had; 78 model and options do not fit together; with workers also those of `muster run`",
    .is_override = mu_config_is_override};
