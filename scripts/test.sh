#!/usr/bin/env bash
# All tests: unit, end to end, documentation, the page.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# The end-to-end tests start the program itself, which is built with the tests: by itself it would need all its libraries once more,
# with other features.
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --locked
else
    cargo test --workspace --locked --lib --bins --tests --exclude e2e
    # These share the machine's cores and ports of nobody: one after the other.
    cargo test -p e2e --locked -- --test-threads=1
fi
if command -v dpkg-shlibdeps >/dev/null; then
    deploy/deb/check.sh target/debug/live360
fi
cargo test --doc --workspace --locked -q
(cd player && npm test --silent)
say "test: all good"
