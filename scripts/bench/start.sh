#!/usr/bin/env bash
# from the first process of a whole topology (deploy/compose, as processes) to a stream playable through both edges, 5 times
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for _ in 1 2 3 4 5; do
    deploy/compose/processes.sh target/release/live360
done
