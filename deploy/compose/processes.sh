#!/usr/bin/env bash
# processes.sh PROGRAM [stay]: what compose.yaml starts, as plain processes on loopback with ports of their own: a stand-in
# for S3 and SQS, two origins, two edges, two workers, and a test picture at each origin. Prints when everything was ready
# and when the stream could be played through both edges; then ends everything, or with `stay` goes on until Ctrl-C.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
if [ $# -lt 1 ] || ! [ -x "$1" ]; then die "usage: deploy/compose/processes.sh PROGRAM [stay]"; fi
program=$(realpath "$1") stay=${2:-}
here=$ROOT/deploy/compose
store=$STATE/python/bin/ministack
[ -x "$store" ] || die "the stand-in for S3 is missing: run make setup"

# How long anything here may take, in s, before it counts as failed.
PATIENCE_S=60
# Small enough that two pictures, two ladders and everything else run on two cores.
PICTURE=(--size 960x480 --bitrate 2000k)

work=$(mktemp -d "${TMPDIR:-/tmp}/live360-start.XXXXXX")
names=() pids=()
# Each child in a process group of its own, so that a Ctrl-C reaches only this script, which ends them in order.
set -m
# shellcheck disable=SC2317,SC2329  # the trap calls it
leave() {
    local status=$?
    trap - EXIT
    trap '' INT TERM
    # The store when nobody writes to it any more. Workers let their question to the queue end: up to 20 s.
    end picture edge transcoder
    end origin
    end store
    if [ "$status" -ne 0 ] && [ "$status" -ne 130 ]; then
        local log
        for log in "$work"/*.err; do
            say "--- $(basename "$log" .err), the end of its log:"
            tail -n 8 "$log" >&2
        done
    fi
    rm -rf "$work"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

# end PREFIX…: those whose names begin so, all at once.
# shellcheck disable=SC2317,SC2329  # the trap calls it
end() {
    local prefix index told=()
    for prefix in "$@"; do
        for index in "${!pids[@]}"; do
            [[ "${names[index]}" == "$prefix"* ]] || continue
            kill -TERM "${pids[index]}" 2>/dev/null || true
            told+=("${pids[index]}")
        done
    done
    for index in "${told[@]}"; do wait "$index" 2>/dev/null || true; done
}

# start NAME COMMAND…: in the background, with its output below $work.
start() {
    local name=$1
    shift
    # There before anybody looks into them.
    : >"$work/$name.out" && : >"$work/$name.err"
    "$@" </dev/null >"$work/$name.out" 2>"$work/$name.err" &
    names+=("$name") pids+=("$!")
}

# Whoever is waited for may have died instead.
all_alive() {
    local index
    for index in "${!pids[@]}"; do
        kill -0 "${pids[index]}" 2>/dev/null || die "${names[index]} has ended by itself"
    done
}

# within LABEL COMMAND…: asks again until it succeeds.
within() {
    local label=$1 until=$((SECONDS + PATIENCE_S))
    shift
    until "$@"; do
        all_alive
        [ "$SECONDS" -lt "$until" ] || die "waited $PATIENCE_S s for: $label"
        sleep 0.05
    done
}

# ready NAME FIELD: the address that this process bound, once its READY line is there.
is_ready() { grep -q '^READY ' "$work/$1.out"; }
ready() {
    within "$1 to be ready" is_ready "$1" || return
    sed -n "s/^READY .*\"$2\":\"\([^\"]*\)\".*/\1/p" "$work/$1.out"
}

fetch() { curl -sf --max-time 10 "$@"; }

# Whether an edge gives the multivariant playlist, a rung's playlist that lists a segment, and all of that segment.
playable() {
    local server=$1 base=/hls rung list segment
    rung=$(fetch "http://$server$base/test.m3u8" | grep -v '^#' | head -n 1) && [ -n "$rung" ] || return 1
    list=$(absolute "$base/" "$rung")
    segment=$(fetch "http://$server$list" | grep -v '^#' | head -n 1) && [ -n "$segment" ] || return 1
    fetch -o /dev/null "http://$server$(absolute "${list%/*}/" "$segment")"
}
absolute() { if [[ "$2" == /* ]]; then printf '%s' "$2"; else printf '%s' "$1$2"; fi; }

now_ms() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
seconds_since() { printf '%d.%02d s' $((($(now_ms) - $1) / 1000)) $((($(now_ms) - $1) % 1000 / 10)); }

began=$(now_ms)
# The ports that aren't asked for would be fixed ones.
GATEWAY_PORT=0 BIND_HOST=127.0.0.1 MINISTACK_HOST=127.0.0.1 SERVICES=s3,sqs IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 \
    start store "$store"
listens() { grep -qhE 'Running on http://' "$work/store.out" "$work/store.err"; }
within "the store to listen" listens
server=$(sed -n 's|.*Running on http://\([^ ]*\).*|\1|p' "$work/store.out" "$work/store.err" | head -n 1)
python3 "$here/prepare.py" "http://$server" >&2

export AWS_ENDPOINT_URL_S3=http://$server AWS_ENDPOINT_URL_SQS=http://$server AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=stand-in AWS_SECRET_ACCESS_KEY=stand-in AWS_EC2_METADATA_DISABLED=true
# The same configuration; what differs from machine to machine comes by the environment and --set.
config=(--config "$here/config/live360.toml" --set admin.http=127.0.0.1:0 --set machine.metadata=off)
key=processes
config+=(--set "admin.token=$(head -c 12 /dev/urandom | base64)" --set "streams.test.key=$key")
start_origin() {
    start "$1" "$program" origin "${config[@]}" --set "data_dir=$work/$1" \
        --set origin.rtmp=127.0.0.1:0 --set origin.http=127.0.0.1:0 "${@:2}"
}
start_origin origin-a
# As in compose.yaml.
start_origin origin-b --set record=off
for name in transcoder-a transcoder-b; do
    start "$name" "$program" transcoder "${config[@]}" --set "data_dir=$work/$name"
done
origin_a=$(ready origin-a origin_http) origin_b=$(ready origin-b origin_http)
for name in edge-a edge-b; do
    start "$name" "$program" edge "${config[@]}" --set "data_dir=$work/$name" --set edge.http=127.0.0.1:0 \
        --set "edge.origins=[\"http://$origin_a\",\"http://$origin_b\"]"
done
edge_a=$(ready edge-a edge_http) edge_b=$(ready edge-b edge_http)
for name in transcoder-a transcoder-b; do ready "$name" admin_http >/dev/null; done
say "everything is ready after $(seconds_since "$began")"

for name in origin-a origin-b; do
    start "picture-$name" "$program" testsource --log warn "${PICTURE[@]}" --reconnect 1 \
        "rtmp://$(ready "$name" rtmp)/live/test?key=$key"
done
within "the stream to be playable through the first edge" playable "$edge_a"
within "the stream to be playable through the second edge" playable "$edge_b"
printf 'playable through both edges %s after the start of the first process\n' "$(seconds_since "$began")"

if [ "$stay" = stay ]; then
    say "
  Watch    http://$edge_a/?url=/hls/test.m3u8  and  http://$edge_b/?url=/hls/test.m3u8
  Stop     Ctrl-C
"
    while sleep 1; do all_alive; done
fi
