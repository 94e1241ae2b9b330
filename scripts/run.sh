#!/usr/bin/env bash
# run.sh PROGRAM [ARGUMENT…]: a server (`PROGRAM all ARGUMENT…`) and a test picture; Ctrl-C ends both. HTTPS is offered too,
# which phones and headsets need for their gyroscope and WebXR; `--set tls=off` leaves it out.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

STREAM="test"
program=$1
shift

# Each child in a process group of its own, so that a Ctrl-C reaches only this script, which tells each of them once: to
# the server a second signal means to leave at once.
set -m
server=
picture=
# shellcheck disable=SC2317,SC2329  # the trap calls it
leave() {
    trap - EXIT
    trap '' INT TERM
    local pid
    for pid in $picture $server; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap leave EXIT
trap 'exit 0' INT TERM

export LIVE360_TLS=${LIVE360_TLS:-self-signed}
coproc SERVER { exec "$program" all "$@"; }
server=$SERVER_PID
exec {stdout}<&"${SERVER[0]}"
# The line is `READY {json}`; an end of file means that the server has failed, and said why on stderr.
IFS= read -r ready <&"$stdout" || { wait "$server"; exit $?; }
address() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$ready" | sed 's/^0\.0\.0\.0:/127.0.0.1:/; s/^\[::\]:/[::1]:/'; }

"$program" testsource --log warn "rtmp://$(address rtmp)/live/$STREAM" </dev/null &
picture=$!

say "
  A test picture is on its way: http://$(address edge_http)/?url=/hls/$STREAM.m3u8"
secure=$(address edge_https)
if [ -n "$secure" ]; then
    # Where other devices of the network find this machine.
    lan=$(hostname -I 2>/dev/null | cut -d" " -f1 || true)
    say "  On a phone or headset:        https://${secure/#127.0.0.1:/${lan:-127.0.0.1}:}/?url=/hls/$STREAM.m3u8
  (the browser warns once; the fingerprint to compare stands above)"
fi
say ""
# Whichever ends first ends the other.
status=0
wait -n "$server" "$picture" || status=$?
exit "$status"
