/*
 * Where the time of a run went, from its directory alone: the points of metrics.jsonl between the events `launcher`,
 * `attempt`, `over` and `end`. Used by status, compare, track (Prometheus) and the table at the end of a run.
 *
 * The wall time runs while a launcher works on the run: from its event `launcher` to its event `end`, of a launcher
 * that was killed to the last sign of it, of one that lives to the last step. The parts add up to it:
 * - start: from the launcher's or the attempt's begin to the begin of its first step; pauses before an attempt too;
 * - of a step: data wait, exposed communication (what even the replica that came last waited), checkpoint stall before
 *   it, evaluation after it, as the workers measured them; compute is the rest of the step;
 * - lost: steps that a later attempt did again, and what an attempt that failed did after its last step. Of a run that
 *   waits to go on, or has failed, steps after its last checkpoint are lost too: they must be done again;
 * - other: the rest, such as the end of an attempt.
 * Checkpoint stalls are never lost: the checkpoint remains.
 */
#ifndef MU_LAUNCHER_REPORT_ACCOUNTING_H
#define MU_LAUNCHER_REPORT_ACCOUNTING_H

#include "common/run/account.h"
#include "launcher/report/history.h"

void mu_accounting(const mu_history_t *history, mu_account_t *out);
/* The same for a run directory. Errors: those of mu_history_open(). */
mu_status_t mu_accounting_of(const char *run_dir, mu_account_t *out);

#endif
