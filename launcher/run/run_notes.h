/* What a launcher notes of its run in run.json that is no progress: where the ranks are, what they train on, and where
 * the time went. */
#ifndef MU_LAUNCHER_RUN_NOTES_H
#define MU_LAUNCHER_RUN_NOTES_H

#include "common/run/rundir.h"
#include "launcher/hosts/placement.h"
#include "launcher/monitor/rundir_writer.h"

/* state->hosts: "gpu-01: ranks 0-4, gpu-02: ranks 5-8". */
void mu_note_hosts(const mu_placement_t *places, mu_run_state_t *state);
/* state->data_version: of a prepared directory; a .bin/.idx pair has none there. data_path NULL: left as it is. */
void mu_note_data_version(const char *data_path, mu_run_state_t *state);
/* state->account: over the directory's whole life. Waits up to 2 s for what the writer has queued. */
void mu_note_account(const char *run_dir, mu_rundir_writer_t *writer, mu_run_state_t *state);
/* Logs the table of where the time went; nothing of a run that made no attempt. */
void mu_print_account(const mu_account_t *account);

#endif
