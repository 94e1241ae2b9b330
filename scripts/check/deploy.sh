#!/usr/bin/env bash
# deploy/ as far as it can be looked over without running it: units, compose file, Dockerfiles, dashboard and alerts.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"

# The highest exposure that `systemd-analyze security` may find in a unit, in tenths of its scale from 0 to 10.
EXPOSURE_MAX=15
# Below this line units are alike.
ALIKE="# --- from here on"

tools=$STATE/python/bin
work=$(mktemp -d "$STATE/check.XXXXXX")
trap 'rm -rf "$work"' EXIT

say "deploy/systemd"
# What a unit has to itself goes above that line; below it only the line for the children is extra.
alike() { sed -n "/^$ALIKE/,/^SystemCallFilter=~/p" "$1"; }
for unit in deploy/systemd/*.service; do
    name=$(basename "$unit")
    [ -n "$(alike "$unit")" ] || die "$unit lacks the line: $ALIKE …"
    diff <(alike deploy/systemd/live360.service) <(alike "$unit") >&2 || die "$unit differs from live360.service where units are alike"
    # The program isn't installed here.
    sed 's|^ExecStart=/usr/bin/live360 |ExecStart=/bin/true |' "$unit" >"$work/$name"
done
if command -v systemd-analyze >/dev/null; then
    # A user that isn't there, or any word that systemd doesn't know, is said on stderr, also where the exit code is 0.
    said=$(systemd-analyze verify --man=no --recursive-errors=no "$work"/*.service 2>&1 | grep "^$work\|live360" || true)
    [ -z "$said" ] || die "systemd-analyze verify: $said"
    for unit in deploy/systemd/*.service; do
        score=$(systemd-analyze security --offline=true --no-pager "$unit" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
        [ -n "$score" ] || die "$unit: systemd-analyze security gives no score"
        [ "${score/./}" -le "$EXPOSURE_MAX" ] || die "$unit: its exposure is $score, more than ${EXPOSURE_MAX:0:1}.${EXPOSURE_MAX:1}"
        printf '  %-28s exposure %s\n' "$(basename "$unit")" "$score" >&2
    done
else
    say "note: no systemd-analyze here, so units were not verified"
fi

say "deploy/compose"
"$tools/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose/compose.yaml >/dev/null ||
    "$tools/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
"$tools/python" scripts/check/compose.py
"$tools/hadolint" deploy/compose/Dockerfile deploy/compose/store.Dockerfile

say "deploy/dashboards"
if promtool=$(scripts/promtool.sh); then
    "$promtool" check rules deploy/dashboards/alerts.yml >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
    "$promtool" test rules deploy/dashboards/alerts_test.yml >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
    "$promtool" check config --syntax-only deploy/compose/prometheus.yml >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
    "$tools/python" scripts/check/dashboards.py "$promtool"
else
    say "note: no promtool here, so alerts and queries were not tried"
fi
