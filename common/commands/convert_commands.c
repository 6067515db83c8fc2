#include "common/commands/convert_commands.h"

static const mu_option_t import_options[] = {
    MU_OPT("DIR", NULL, MU_OPTION_OPERANDS, offsetof(mu_import_args_t, dir),
           "a Hugging Face directory, a checkpoint of gpt-neox, or an adapter of PEFT's", .required = true,
           .most = 1),
    MU_OPT("--output", "CKPT", MU_OPTION_TEXT, offsetof(mu_import_args_t, output),
           "a directory that holds no checkpoint; it is made. The same import again is exit 0",
           .required = true, .choices = "DIR"),
    MU_OPT("--config", "FILE", MU_OPTION_WORDS, offsetof(mu_import_args_t, configs),
           "gpt-neox: the model's YAML, where there is no configs/ or to use others", .choices = "FILE"),
    MU_OPT("--base", "CKPT", MU_OPTION_TEXT, offsetof(mu_import_args_t, base),
           "an adapter's: the checkpoint of the model that it adapts", .choices = "DIR"),
    MU_OPT("--special", "NAME", MU_OPTION_WORDS, offsetof(mu_import_args_t, specials),
           "adds a special token, as '<|quest|>', after the tokenizer's ids", ),
    MU_OPT("--allow-nonfinite", NULL, MU_OPTION_FLAG, offsetof(mu_import_args_t, allow_nonfinite),
           "weights that are NaN or infinite are warned of; otherwise they are an error", ),
    MU_OPT_END};

const mu_command_t mu_import_command = {
    .name = "import",
    .summary = "a Hugging Face model into a checkpoint",
    .about =
        "Makes a checkpoint of a pretrained model, without optimizer state. `muster eval`, `generate` and "
        "`export` take it, and a run begins from it with load=CKPT finetune=true. Weights in fp16 and bf16 "
        "become fp32.\n\n"
        "DIR is a Hugging Face directory of a GPT2LMHeadModel or a GPTNeoX-, Llama-, Mistral-, Qwen2- or "
        "Qwen3ForCausalLM: config.json, "
        "model.safetensors (or model.safetensors.index.json and its files), tokenizer.json (or vocab.json "
        "and "
        "merges.txt). Or DIR is a checkpoint of gpt-neox, or the directory that it saves them in: "
        "layer_XX-model_YY-model_states.pt, or mp_rank_YY_model_states.pt of a run without pipeline stages, "
        "of "
        "any tensor-parallel width, and the run's configs/*.yml. ZeRO's files are not needed. Or DIR is an "
        "adapter as PEFT saves it, adapter_config.json (LoRA) and adapter_model.safetensors: then --base "
        "names "
        "the "
        "checkpoint of its model, and the new checkpoint holds the adapter alone.",
    .options = import_options,
    .exits = "0; 2 bad command line; 65 a file is damaged or holds another model; 66 no model there; 73 CKPT "
             "holds another checkpoint; 74 a file cannot be read or written; 78 a model that muster does not "
             "know"};

static const mu_option_t export_options[] = {
    MU_OPT("CKPT", NULL, MU_OPTION_OPERANDS, offsetof(mu_export_args_t, model),
           "a checkpoint, or a run's: RUN, RUN@best, RUN@STEP", .required = true, .most = 1),
    MU_OPT("--output", "HF_DIR", MU_OPTION_TEXT, offsetof(mu_export_args_t, output),
           "a directory that does not exist, or an empty one; the same export again is exit 0",
           .required = true, .choices = "DIR"),
    MU_OPT("--merge", NULL, MU_OPTION_FLAG, offsetof(mu_export_args_t, merge),
           "an adapter is added to its base's weights: a whole model", ),
    MU_OPT("--base", "CKPT", MU_OPTION_TEXT, offsetof(mu_export_args_t, base),
           "an adapter's: where its base lies now; default: where the checkpoint says", .choices = "DIR"),
    MU_OPT("--register", "NAME", MU_OPTION_TEXT, offsetof(mu_export_args_t, name),
           "a version of the model NAME in MLflow's registry is made of it", .launcher = true),
    MU_OPT("--alias", "A", MU_OPTION_TEXT, offsetof(mu_export_args_t, alias),
           "that version gets this alias; with --register", .launcher = true),
    MU_OPT("--mlflow", "URI", MU_OPTION_TEXT, offsetof(mu_export_args_t, mlflow),
           "the registry's server, default: MLFLOW_TRACKING_URI; with --register", .launcher = true),
    MU_OPT_END};

const mu_command_t mu_export_command = {
    .name = "export",
    .summary = "a checkpoint into a Hugging Face model",
    .about =
        "Makes a Hugging Face directory of a checkpoint: config.json, model.safetensors with the same "
        "weights "
        "in fp32, tokenizer.json. Transformers' from_pretrained(HF_DIR) loads it with the same logits.\n\n"
        "A checkpoint of adapters (muster.lora_rank) becomes PEFT's adapter_config.json and "
        "adapter_model.safetensors, with --merge a whole model.",
    .options = export_options,
    .exits = "0; 2 bad command line; 65 the checkpoint is damaged; 66 no checkpoint there; 69 the registry's "
             "server does not answer, 77 refuses the credentials; 73 HF_DIR holds something else; 74 a file "
             "cannot be read or written"};
