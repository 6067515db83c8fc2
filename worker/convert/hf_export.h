/*
 * Export: a checkpoint becomes a directory that from_pretrained() loads: config.json, model.safetensors in
 * fp32 (the same bits), tokenizer.json and tokenizer_config.json; with its lineage and a model card (export_record.h).
 *
 * The directory is written under a temporary name beside it, synced and renamed. One tensor at a time is in
 * memory.
 */
#ifndef MU_WORKER_HF_EXPORT_H
#define MU_WORKER_HF_EXPORT_H

#include "common/checkpoint/checkpoint_reader.h"
#include "worker/convert/hf_model.h"

/* An adapter becomes PEFT's files (hf_adapter.h), or with `merge` the whole model; base: where its model lies now,
 * NULL: where it says.
 * output: absent, an empty directory, or the same export, which stays as it is. Errors: MU_RUNDIR (it is neither),
 * MU_CONFIG (no class computes this model), MU_DATA (the checkpoint is damaged), MU_IO. */
mu_status_t mu_hf_export(const mu_checkpoint_t *checkpoint, const char *base, bool merge, const char *output);

#endif
