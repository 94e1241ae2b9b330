#!/usr/bin/env bash
# Builds the watch page into player/dist, from where cargo puts it into the binary; nothing if its sources are unchanged.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT/player"

sum_of() { sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1; }

sources=$(find . \( -name node_modules -o -name dist -o -name embed -o -name e2e \) -prune -o -type f -print0 | sum_of)
packages=$(printf '%s\0' package.json package-lock.json | sum_of)

if ! [ -d node_modules ] || ! fresh npm "$packages"; then
    step "Fetching the page's packages (npm ci)" npm ci --no-audit --no-fund
    done_for npm "$packages"
fi
if ! [ -f dist/index.html ] || ! fresh player "$sources"; then
    step "Building the watch page" npm run build
    done_for player "$sources"
fi
