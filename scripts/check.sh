#!/usr/bin/env bash
# Formatting, lints, documentation and house rules: whatever can be said without running the program.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

say "== formatting"
cargo fmt --all --check

say "== lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

say "== an edge without FFmpeg"
edge=(-p live360 --no-default-features --features edge --locked)
cargo clippy "${edge[@]}" --all-targets -- -D warnings
# Into a variable first: grep -q would end cargo by a closed pipe.
tree=$(cargo tree "${edge[@]}" --edges normal)
if grep -E '(ffmpeg|^.*\bcodec) ' <<<"$tree"; then
    die "the edge-only binary depends on FFmpeg"
fi

say "== documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

say "== house rules"
# Of all packages, so that what is built here is what the tests need.
cargo test -q --workspace --test it --locked tidy::

say "== the page"
(cd player && npm run --silent check)

say "== scripts"
mapfile -t scripts < <(grep -rlE '^#!.*\b(ba)?sh$' .ci scripts deploy)
shellcheck -x "${scripts[@]}"

# What else there is to look over, each by itself.
for check in scripts/check/*.sh; do
    [ -x "$check" ] || continue
    say "== $(basename "$check" .sh)"
    "$check"
done
say "check: all good"
