# shellcheck shell=bash
# What the scripts share: where they are, words for people, and a progress line for long steps.
# Sourced, not run. Expects `set -euo pipefail`.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=$ROOT/.setup
mkdir -p "$STATE"

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# step LABEL COMMAND…: runs a long command with its output in a log, and shows for how long it has been running: a line
# that counts on a terminal, a line every half minute elsewhere. If it fails, the end of the log is shown.
step() {
    local label=$1 log status=0 pid seconds=0
    shift
    log=$(mktemp "$STATE/step.XXXXXX.log")
    "$@" >"$log" 2>&1 &
    pid=$!
    # A background command doesn't get Ctrl-C by itself.
    trap 'kill "$pid" 2>/dev/null || true; wait "$pid" || true; exit 130' INT TERM
    [ -t 2 ] || say "$label …"
    while kill -0 "$pid" 2>/dev/null; do
        if [ -t 2 ]; then
            printf '\r%s … %d s ' "$label" "$seconds" >&2
        elif [ "$seconds" -gt 0 ] && [ $((seconds % 30)) -eq 0 ]; then
            say "$label … $seconds s"
        fi
        sleep 1
        seconds=$((seconds + 1))
    done
    wait "$pid" || status=$?
    trap - INT TERM
    [ -t 2 ] && printf '\r\033[K' >&2
    if [ "$status" -ne 0 ]; then
        say "$label: failed after $seconds s (exit $status). The end of its output:"
        tail -n 40 "$log" >&2
        say "All of it is in $log"
        return "$status"
    fi
    rm -f "$log"
    say "$label: done in $seconds s"
}

# fresh NAME SUM: whether the step NAME was last done for this sum.
fresh() { [ "$(cat "$STATE/$1.sum" 2>/dev/null)" = "$2" ]; }

# done_for NAME SUM: remembers it.
done_for() { printf '%s\n' "$2" >"$STATE/$1.sum"; }
