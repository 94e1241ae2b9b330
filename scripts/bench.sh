#!/usr/bin/env bash
# Without an argument: which measurements there are. With a name: runs scripts/bench/NAME.sh.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

if [ $# -gt 0 ]; then
    [ -x "scripts/bench/$1.sh" ] || die "there is no measurement $1; see make bench"
    exec "scripts/bench/$1.sh" "${@:2}"
fi
for script in scripts/bench/*.sh; do
    [ -e "$script" ] || { say "there are no measurements yet"; break; }
    name=$(basename "$script" .sh)
    # The first comment after the shebang says what it measures.
    printf 'make bench-%-16s %s\n' "$name" "$(sed -n '2s/^# *//p' "$script")"
done
