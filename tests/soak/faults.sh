#!/usr/bin/env bash
# Faults for longer than a test may take; not part of ctest. Needs root and a built tree; MUSTER_BIN names its programs.
#
#     tests/soak/faults.sh [DEATHS [SECONDS]]      default: 200 random deaths, 300 s of lost packets
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export MUSTER_SOURCE=${MUSTER_SOURCE:-$(cd "$here/../.." && pwd)}
export MUSTER_BIN=${MUSTER_BIN:-$MUSTER_SOURCE/build/release/bin}
MUSTER_SECONDS=${2:-300} bash "$here/../hosts/run_packets_lost.sh"
MUSTER_DEATHS=${1:-200} bash "$here/../hosts/deaths_random.sh"
