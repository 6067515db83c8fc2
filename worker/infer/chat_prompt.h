/* The prompt of `muster generate --chat`. */
#ifndef MU_WORKER_CHAT_PROMPT_H
#define MU_WORKER_CHAT_PROMPT_H

#include "worker/infer/generation.h"

/* Puts a user's message, or a JSON object with messages, into the model's chat template: out->prompt, and the end of an
 * answer among out->end. The template is muster.chat_template of the model's configuration, else that of the files
 * that it was imported with. Errors: MU_CONFIG (no such template), MU_USAGE (what the template cannot do). */
mu_status_t mu_chat_prompt(const mu_inference_model_t *model, const char *prompt, mu_generation_t *out);

#endif
