#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test.
set -euo pipefail
cd "$(dirname "$0")"
scripts/install-dependencies openssh-server iproute2 iptables # the last three: hosts in namespaces, for ctest -L hosts
cmake --preset release -DMUSTER_WERROR=ON
cmake --build --preset release
ctest --test-dir build/release --output-on-failure -j "$(nproc)"
