#!/usr/bin/env bash
# the live path: start-up, latency, memory, CPU beside the reference's ffmpeg, 200 publish/stop cycles (9 minutes)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --release --locked -p live360 -p e2e --bins
exec target/release/bench "$@"
