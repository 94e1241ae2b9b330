#!/usr/bin/env bash
# viewers that `live360 load` simulates on one core, and its cost beside wrk for plain fetches (3 minutes)
#
#     scripts/bench/load.sh [viewers|plain]… [rounds=N] [seconds=N]
#
# Installs Debian's wrk.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"

if ! command -v wrk >/dev/null; then
    step "Installing wrk" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends wrk
fi
ulimit -n "$(ulimit -Hn)"
cargo build --release --locked -p live360 -p e2e --bins
exec target/release/bench_load "$@"
