/*
 * TensorBoard's event files, written without TensorBoard: records (length, checksum of the length, bytes, checksum of
 * the bytes; CRC-32C, masked) that each hold one protobuf message `Event`. Every function appends one whole record to
 * `out`.
 *
 *     mu_tb_header()                    once, first
 *     mu_tb_text()                      any time
 *     mu_tb_scalars()                   once a step
 *     mu_tb_restart()                   before a step that is written again
 *
 * `time` is in seconds since 1970. Nothing here fails.
 */
#ifndef MU_LAUNCHER_TENSORBOARD_H
#define MU_LAUNCHER_TENSORBOARD_H

#include "common/buf.h"
#include "launcher/track/points.h"
#include <stdint.h>

void mu_tb_header(double time, mu_buf_t *out);
/* The values of one step; count 0 writes nothing. TensorBoard keeps floats. */
void mu_tb_scalars(double time, int64_t step, const mu_scalar_t *scalars, int count, mu_buf_t *out);
/* A text for the tab of that name, shown as Markdown. */
void mu_tb_text(double time, const char *tag, const char *text, mu_buf_t *out);
/* Training goes on from an earlier step: readers forget what they have of `step` and all later ones. */
void mu_tb_restart(double time, int64_t step, mu_buf_t *out);

#endif
