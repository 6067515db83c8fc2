/*
 * This machine's addresses, chosen as Open MPI chooses them: by a list of interfaces and networks
 * ("eth0,10.1.0.0/16,fd00::/8"; "*" is any but loopback). The first word that fits something decides; of an interface,
 * IPv4 comes before IPv6, and "eth0@6" or "*@6" means its IPv6 addresses only, "@4" those of IPv4.
 * Interfaces that are down and link-local addresses of IPv6 do not count.
 */
#ifndef MU_COMMON_INTERFACES_H
#define MU_COMMON_INTERFACES_H

#include "common/buf.h"
#include <stdbool.h>

#define MU_ADDRESS_TEXT 64 /* room for any numeric address */

/* False when nothing fits; then `have` (cleared first) tells what there is: "eth0 10.1.0.7, ib0 10.2.0.7",
 * loopback left out. */
bool mu_interface_address(const char *list, char out[MU_ADDRESS_TEXT], mu_buf_t *have);

#endif
