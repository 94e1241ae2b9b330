#!/usr/bin/env bash
# the edge beside nginx and Varnish: server CPU of cached answers, a cold segment before 200 viewers, 10,000 parked viewers, TLS (5 minutes)
#
#     scripts/bench/edge.sh [playlist|small|large|cold|parked|tls]… [rounds=N]
#
# Installs Debian's nginx and Varnish, which are only started here, on 127.0.0.1, and end with it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"

for program in nginx varnishd; do
    if ! command -v "$program" >/dev/null; then
        # Without a policy apt would start both as services.
        step "Installing nginx and Varnish" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends nginx-light varnish
        break
    fi
done
ulimit -n "$(ulimit -Hn)"
cargo build --release --locked -p live360 -p e2e --bins
exec target/release/bench_edge "$@"
