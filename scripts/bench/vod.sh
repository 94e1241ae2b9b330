#!/usr/bin/env bash
# VOD: stream's end to playable, work lost by killed workers, 1 and 2 workers, a simulated fleet, CPU and SSIM beside FFmpeg (8 minutes)
#
#     scripts/bench/vod.sh [instant|lost|workers|simulate|cost]… [rounds=N] [kills=N] [simulate=WORKERS] [effort=PRESET]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --release --locked -p live360 -p e2e --bins
exec target/release/bench_vod "$@"
