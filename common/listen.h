/* Where a server listens, as people write it: "ADDRESS:PORT", "[ADDRESS]:PORT", ":PORT" or "PORT". */
#ifndef MU_COMMON_LISTEN_H
#define MU_COMMON_LISTEN_H

#include "common/buf.h"
#include <stdbool.h>
#include <stdint.h>

#define MU_LISTEN_WORDS "ADDRESS:PORT, [ADDRESS]:PORT or PORT"

/* Adds the address without brackets to `host` ("127.0.0.1" when there is none); port: 0 to 65535. False when `text` is
 * no such place. Whether the address is one is not looked at. */
bool mu_listen_split(const char *text, mu_buf_t *host, int *port);

#endif
