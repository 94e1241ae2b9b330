#!/usr/bin/env bash
# the real OBS: time until playable by key-frame interval, what is served, stop and crash, its words when refused (4 minutes)
#
#     scripts/bench/obs.sh [BINARY]      BINARY: a live360 to test; without it a release build is made
#
# OBS runs on a virtual display with software OpenGL and a home of its own, and is told to stop and start by hotkeys; it
# and the server listen on and speak to 127.0.0.1 only. Exit 1 if something is not as it should be; the logs are kept then.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

WIDTH=1280
HEIGHT=640
FPS=30
# How long anything may take, in seconds: OBS starts in 5 s here, its automatic key frames come every 8.3 s.
PATIENCE_S=60
BINARY=${1:-}
WORK=$(mktemp -d)
PIDS=()
FAILURES=0
ROWS=()

# Programs that the bench started and that may still run.
finish() {
    local status=$?
    trap - EXIT INT TERM
    [ ${#PIDS[@]} -eq 0 ] || kill "${PIDS[@]}" 2>/dev/null || true
    wait
    if [ "$status" -eq 0 ]; then rm -rf "$WORK"; else say "The logs are in $WORK"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
    say "FAILED: $*"
    FAILURES=$((FAILURES + 1))
}

# row LABEL VALUE: a line of the table.
row() {
    ROWS+=("$1|$2")
    say "  $1: $2"
}

# await WHAT COMMAND…: until the command succeeds, or the bench ends.
await() {
    local what=$1 deadline=$((SECONDS + PATIENCE_S))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || die "waited $PATIENCE_S s in vain: $what"
        sleep 0.1
    done
}

now() { date +%s.%N; }
minus() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a - b }'; }

# ---- What runs ------------------------------------------------------------------------------------------------------

install_obs() {
    command -v obs >/dev/null && command -v Xvfb >/dev/null && command -v xdotool >/dev/null && return
    command -v apt-get >/dev/null || die "obs, Xvfb or xdotool is missing, and there is no apt-get to install it"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    step "apt-get update" "${root[@]}" apt-get update -q
    # OBS alone has no picture sources; Mesa's drivers are its software OpenGL.
    step "Installing obs-studio, xvfb and xdotool" "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends obs-studio obs-plugins libgl1-mesa-dri xvfb xdotool
}

start_server() {
    "$BINARY" all --set "data_dir=$WORK/data" --set origin.rtmp=127.0.0.1:0 --set origin.http=127.0.0.1:0 \
        --set edge.http=127.0.0.1:0 --set admin.http=127.0.0.1:0 --set streams.locked.key=secret \
        >"$WORK/ready" 2>"$WORK/server.log" &
    PIDS+=($!)
    await "the server's READY line" grep -q '^READY ' "$WORK/ready"
    local ready
    ready=$(sed -n 's/^READY //p' "$WORK/ready")
    RTMP=$(jq -r .rtmp <<<"$ready")
    EDGE=http://$(jq -r .edge_http <<<"$ready")
    ADMIN=http://$(jq -r .admin_http <<<"$ready")
}

start_display() {
    Xvfb -displayfd 3 -screen 0 1280x720x24 -nolisten tcp 3>"$WORK/display" 2>"$WORK/xvfb.log" &
    PIDS+=($!)
    await "a virtual display" test -s "$WORK/display"
    DISPLAY=:$(cat "$WORK/display")
    export DISPLAY LIBGL_ALWAYS_SOFTWARE=1 XDG_RUNTIME_DIR=$WORK/runtime
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    # OBS looks for news of streaming services when it starts: this keeps it on this machine.
    export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 no_proxy=127.0.0.1
}

# A picture that OBS moves sideways, so that it never cuts to another scene, and a tone of ten minutes.
make_media() {
    ffmpeg -v error -f lavfi -i "testsrc2=s=${WIDTH}x$HEIGHT" -frames:v 1 "$WORK/picture.png"
    ffmpeg -v error -f lavfi -i "sine=440:sample_rate=8000:duration=600" "$WORK/tone.wav"
}

# configure HOME INTERVAL SERVER KEY: OBS's settings, as a user would have made them. INTERVAL 0 is "auto".
configure() {
    local folder=$1/.config/obs-studio
    mkdir -p "$folder/basic/profiles/Live" "$folder/basic/scenes"
    cat >"$folder/global.ini" <<INI
[General]
FirstRun=true
EnableAutoUpdates=false
[Basic]
Profile=Live
ProfileDir=Live
SceneCollection=Live
SceneCollectionFile=Live
[BasicWindow]
PreviewEnabled=false
INI
    cat >"$folder/basic/profiles/Live/basic.ini" <<INI
[General]
Name=Live
[Video]
BaseCX=$WIDTH
BaseCY=$HEIGHT
OutputCX=$WIDTH
OutputCY=$HEIGHT
FPSType=0
FPSCommon=$FPS
[Output]
Mode=Advanced
Reconnect=false
[AdvOut]
Encoder=obs_x264
Track1Bitrate=128
[Audio]
SampleRate=48000
[Hotkeys]
OBSBasic.StartStreaming={"bindings":[{"key":"OBS_KEY_F9"}]}
OBSBasic.StopStreaming={"bindings":[{"key":"OBS_KEY_F10"}]}
INI
    jq -n --argjson interval "$2" '{keyint_sec: $interval, bitrate: 2500, rate_control: "CBR", preset: "veryfast",
        profile: "high"}' >"$folder/basic/profiles/Live/streamEncoder.json"
    jq -n --arg server "$3" --arg key "$4" '{type: "rtmp_custom", settings: {server: $server, key: $key}}' \
        >"$folder/basic/profiles/Live/service.json"
    jq -n --arg picture "$WORK/picture.png" --arg tone "$WORK/tone.wav" '
        {name: "Live", current_scene: "Scene", current_program_scene: "Scene", scene_order: [{name: "Scene"}], sources: [
            {id: "image_source", name: "Picture", settings: {file: $picture},
                filters: [{id: "scroll_filter", name: "Scroll", settings: {speed_x: 100}}]},
            {id: "ffmpeg_source", name: "Tone", mixers: 255, settings: {local_file: $tone, looping: true}},
            {id: "scene", name: "Scene", settings: {id_counter: 2, items: [
                {name: "Picture", id: 1, visible: true}, {name: "Tone", id: 2, visible: true}]}}]}' \
        >"$folder/basic/scenes/Live.json"
}

# start_obs HOME: leaves its process id in OBS.
start_obs() {
    HOME=$1 XDG_CONFIG_HOME=$1/.config obs --startstreaming --multi --disable-shutdown-check --profile Live --collection Live \
        >>"$1/out" 2>&1 &
    OBS=$!
    PIDS+=("$OBS")
}

# SIGKILL: what a crash looks like to the server.
kill_obs() {
    kill -9 "$OBS"
    wait "$OBS" 2>/dev/null || true
    local left=() pid
    for pid in "${PIDS[@]}"; do [ "$pid" = "$OBS" ] || left+=("$pid"); done
    PIDS=("${left[@]}")
}

# OBS looks at the keys every 25 ms.
press() {
    xdotool keydown "$1"
    sleep 0.2
    xdotool keyup "$1"
}

# ---- What is served -------------------------------------------------------------------------------------------------

playlist() { curl -s -m 20 "$EDGE/hls/$1/$2/index.m3u8"; }
whole_segments() { playlist "$1" source | grep -c '^[0-9]*\.m4s$' || true; }
has_segments() { [ "$(whole_segments "$1")" -ge "$2" ]; }
is_state() { [ "$(curl -s -m 20 "$EDGE/api/streams" | jq -r --arg n "$1" '.streams[] | select(.name == $n).state')" = "$2" ]; }
last_number() { playlist "$1" source | sed -n 's/^\([0-9]*\)\.m4s$/\1/p' | tail -n 1; }
published() { grep -c "publishing stream=$1\$" "$WORK/server.log" || true; }
published_times() { [ "$(published "$1")" -ge "$2" ]; }
publish_time() { date -d "$(grep "publishing stream=$1\$" "$WORK/server.log" | tail -n 1 | cut -d' ' -f1)" +%s.%N; }

# The renditions that the multivariant playlist names, I-frame playlists aside.
renditions() { curl -s -m 20 "$EDGE/hls/$1.m3u8" | grep -o "$1/[0-9a-z]*/index" | cut -d/ -f2; }

# fetch_new STREAM PATTERN AFTER: whether a file of the source rung whose line has PATTERN, with a media sequence number
# above AFTER, is listed and can be fetched whole.
fetch_new() {
    local file
    file=$(playlist "$1" source | sed -n "s/$2/\\1/p" | awk -F. -v after="$3" '$1 > after' | head -n 1)
    [ -n "$file" ] && curl -sf -m 20 -o /dev/null "$EDGE/hls/$1/source/$file"
}

# playable STREAM AFTER: seconds from OBS's publish until the first part, and until the first whole segment, could be had.
playable() {
    local begun part whole
    begun=$(publish_time "$1")
    await "a part of $1" fetch_new "$1" '^#EXT-X-PART:.*URI="\([^"]*\)".*$' "$2"
    part=$(now)
    await "a segment of $1" fetch_new "$1" '^\([0-9]*\.m4s\)$' "$2"
    whole=$(now)
    echo "$(minus "$part" "$begun") s / $(minus "$whole" "$begun") s"
}

# describe STREAM: what its playlist says. OBS's milliseconds are rounded, durations must not be: all are whole frames.
describe() {
    local list
    list=$(playlist "$1" source)
    row "playlist" "$(awk -F'[:,=]' '
        /^#EXT-X-TARGETDURATION/ { target = $2 }
        /^#EXTINF/ { if (!n || $2 < low) low = $2; if ($2 > high) high = $2; n++ }
        /^#EXT-X-SERVER-CONTROL/ { match($0, /HOLD-BACK=[0-9.]*/); hold = substr($0, RSTART + 10, RLENGTH - 10) }
        END { printf "target %d s, EXTINF %.6f to %.6f s, HOLD-BACK %s s", target, low, high, hold }' <<<"$list")"
    awk -F'[:,]' -v fps=$FPS '/^#EXTINF/ { n = $2 * fps; off = n - int(n + 0.5); if (off * off > 1e-6) bad = 1 } END { exit bad }' \
        <<<"$list" || fail "EXTINF is not always a whole number of frames"
    row "FRAME-RATE" "$(curl -s -m 20 "$EDGE/hls/$1.m3u8" | grep -o 'FRAME-RATE=[0-9.]*' | sort -u | cut -d= -f2 | xargs)"
}

# decode STREAM: the newest segment of every rendition, joined to its init segment, as FFmpeg sees it.
decode() {
    local rendition list init segment extinf packets seen file=$WORK/segment.mp4
    for rendition in $(renditions "$1"); do
        list=$(playlist "$1" "$rendition")
        init=$(sed -n 's/^#EXT-X-MAP:URI="\([^"]*\)".*/\1/p' <<<"$list" | tail -n 1)
        segment=$(grep '^[0-9]*\.m4s$' <<<"$list" | tail -n 1)
        extinf=$(sed -n 's/^#EXTINF:\([0-9.]*\),.*/\1/p' <<<"$list" | tail -n 1)
        curl -sf -m 20 "$EDGE/hls/$1/$rendition/$init" "$EDGE/hls/$1/$rendition/$segment" >"$file" ||
            fail "$1/$rendition: $init or $segment can't be had"
        seen=$(timeout 30 ffmpeg -v error -xerror -i "$file" -f null - 2>&1) || fail "$1/$rendition/$segment: ${seen:-not decoded}"
        packets=$(ffprobe -v error -count_packets -show_entries stream=nb_read_packets -of csv=p=0 "$file" | tr -d ',\n')
        seen=$(ffprobe -v error -show_entries packet=flags -of csv=p=0 "$file")
        [[ $seen == K* ]] || fail "$1/$rendition/$segment begins without a key frame"
        if [ "$rendition" = audio ]; then
            seen=$(ffmpeg -hide_banner -i "$file" -af volumedetect -f null - 2>&1 | sed -n 's/.*mean_volume: //p')
            row "  audio, decoded" "$packets AAC frames, EXTINF $extinf s, mean $seen"
        else
            awk -v f="$packets" -v d="$extinf" -v r=$FPS 'BEGIN { e = f / r - d; exit !(e < 0.001 && e > -0.001) }' ||
                fail "$1/$rendition/$segment has $packets frames, and EXTINF is $extinf"
            seen=$(ffprobe -v error -show_entries stream=profile,width,height -of default=nk=1:nw=1 "$file" | xargs)
            row "  $rendition, decoded" "$packets frames, $seen, EXTINF $extinf s"
        fi
    done
}

lint() {
    local status=0 file
    file=$(mktemp "$WORK/lint.$1.XXXX")
    timeout 90 "$BINARY" lint "$EDGE/hls/$1.m3u8" >"$file" 2>&1 || status=$?
    [ "$status" -eq 0 ] || fail "lint of $1: exit $status ($(grep ' MUST: ' "$file" | cut -d' ' -f1 | xargs)), see $file"
    row "live360 lint$2" "exit $status: $(tail -n 1 "$file")"
    row "  SHOULD not kept" "$(grep -o '^[VL][0-9]*\.[a-z0-9-]* SHOULD' "$file" | cut -d' ' -f1 | xargs)"
}

# stat STREAM INTERVAL: who publishes, and whether the warning about key frames is there exactly if it should be.
stat() {
    local seen warnings
    seen=$(curl -s -m 20 "$ADMIN/stat" | jq -c --arg n "$1" '.origin.streams[] | select(.name == $n)')
    row "/stat, encoder" "$(jq -r .core.encoder <<<"$seen")"
    [[ $(jq -r .core.encoder <<<"$seen") == *obs* ]] || fail "/stat doesn't name the encoder"
    warnings=$(jq -r '.warnings | join("; ")' <<<"$seen")
    row "/stat, warnings" "${warnings:-none}"
    if [ "$2" -eq 0 ]; then
        [[ $warnings == *"Keyframe Interval"* ]] || fail "the warning doesn't name OBS's setting"
    else
        [ -z "$warnings" ] || fail "a warning without a reason"
    fi
}

# after_break STREAM: the media sequence numbers that follow a discontinuity, in every rendition; "gap" where numbers skip.
after_break() {
    local rendition
    for rendition in $(renditions "$1"); do
        playlist "$1" "$rendition" | awk -v r="$rendition" '
            /^#EXT-X-DISCONTINUITY$/ { broken = 1 }
            /^#EXT-X-GAP/ { line = line " GAP" }
            /^[0-9]+\.m4s$/ {
                if (before && $0 + 0 != before + 1) line = line " gap"
                if (broken) line = line " " ($0 + 0)
                broken = 0; before = $0 + 0
            }
            END { print line }'
    done | sort -u
}

# all_have STREAM NUMBER: whether every rendition lists that segment.
all_have() {
    local rendition
    for rendition in $(renditions "$1"); do playlist "$1" "$rendition" | grep -x "$2.m4s" >/dev/null || return 1; done
}

# interrupted STREAM WHAT STOP START: stops and starts OBS within 10 s, and looks at what viewers see of it.
interrupted() {
    local stream=$1 what=$2 before breaks times gone back
    times=$(published "$stream")
    breaks=$(playlist "$stream" source | grep -c '^#EXT-X-DISCONTINUITY$' || true)
    "$3"
    gone=$(now)
    await "$stream to wait" is_state "$stream" waiting
    # Long enough for the segment in hand to be closed, encoded and listed: what comes after it is new.
    sleep 3
    before=$(last_number "$stream")
    "$4"
    await "OBS to publish again" published_times "$stream" $((times + 1))
    back=$(publish_time "$stream")
    row "$what: publishes again after" "$(minus "$back" "$gone") s"
    awk -v a="$gone" -v b="$back" 'BEGIN { exit !(b - a < 10) }' || fail "OBS took more than 10 s to come back"
    row "  first part / whole segment after it" "$(playable "$stream" "$before")"
    await "$stream to be live again" is_state "$stream" live
    # The encoded renditions are a little behind the source's.
    await "segment $((before + 1)) in every rendition" all_have "$stream" $((before + 1))
    local seen
    seen=$(after_break "$stream")
    row "  EXT-X-DISCONTINUITY, in every rendition, before" "$(xargs <<<"$seen"); the last before the break was $before"
    [ "$(wc -l <<<"$seen")" -eq 1 ] || fail "the renditions differ after the break: $seen"
    [ "$(wc -w <<<"$seen")" -eq $((breaks + 1)) ] || fail "not exactly one more discontinuity: $seen"
    [ "$(awk '{ print $NF }' <<<"$seen")" = $((before + 1)) ] || fail "the numbers don't go on from $before: $seen"
}

press_stop() { press F10; }
press_start() { press F9; }
start_again() { start_obs "$OBS_HOME"; }

# ---- The runs -------------------------------------------------------------------------------------------------------

# session NAME INTERVAL SEGMENTS: one stream, from the start of OBS to its end.
session() {
    local stream=$1 interval=$2
    OBS_HOME=$WORK/$stream
    row "== Keyframe Interval" "$([ "$interval" -eq 0 ] && echo '0 = auto' || echo "$interval s")"
    configure "$OBS_HOME" "$interval" "rtmp://$RTMP/live" "$stream"
    start_obs "$OBS_HOME"
    await "OBS to publish" published_times "$stream" 1
    row "publish to first part / whole segment" "$(playable "$stream" 0)"
    await "$stream to be live" is_state "$stream" live
    await "$3 segments of $stream" has_segments "$stream" "$3"
    describe "$stream"
    decode "$stream"
    stat "$stream" "$interval"
    lint "$stream" ""
    interrupted "$stream" "Stop, Start in OBS" press_stop press_start
    interrupted "$stream" "OBS killed, started" kill_obs start_again
    await "a segment more" all_have "$stream" $(($(last_number "$stream") + 1))
    lint "$stream" " with the breaks"
    kill_obs
}

# refused NAME APPLICATION KEY WORDS: OBS must log WORDS, a part of our reason.
refused() {
    local log seen
    configure "$WORK/$1" 2 "rtmp://$RTMP/$2" "$3"
    start_obs "$WORK/$1"
    await "OBS to give up" grep -qs 'Streaming Stop' "$WORK/$1/out"
    kill_obs
    log=$(find "$WORK/$1/.config/obs-studio/logs" -name '*.txt')
    seen=$(grep -E 'NetStream|NetConnection' "$log" | cut -d' ' -f2- || true)
    row "$2, key $3" "${seen:-nothing}"
    [[ $seen == *"$4"* ]] || fail "OBS's log has not our words for $2, key $3"
}

[ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || command -v obs >/dev/null || die "installing OBS takes root or sudo"
install_obs
for program in curl jq ffmpeg ffprobe; do command -v $program >/dev/null || die "$program is missing: run make setup"; done
if [ -z "$BINARY" ]; then
    step "Building live360" cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked -p live360
    BINARY=$ROOT/target/release/live360
fi
[ -x "$BINARY" ] || die "there is no program $BINARY"

make_media
start_server
start_display
row "OBS" "$(obs --version | head -n 1)"
row "picture" "${WIDTH}x$HEIGHT at $FPS/s, x264 veryfast 2500 kbit/s, $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
session every2s 2 4
session auto 0 4
row "== Refused: in OBS's log" ""
refused badname live 'bad name!' 'stream name "bad name!" is not allowed'
refused nope nope obs 'there is no application "nope" here'
refused locked live 'locked?key=wrong' 'key'

printf '\n'
printf '%s\n' "${ROWS[@]}" | while IFS='|' read -r label value; do printf '%-52s %s\n' "$label" "$value"; done
printf '\n%s\n' "$([ "$FAILURES" -eq 0 ] && echo 'All as it should be.' || echo "$FAILURES checks failed.")"
[ "$FAILURES" -eq 0 ]
