#!/bin/bash
# Runs inside the system that boot.sh boots: whether the installed units work, sandbox and all. Prints what it tries.
set -euo pipefail

CONFIG=/etc/live360/live360.toml
# The longest wait for anything, in s.
PATIENCE_S=60

failed() {
    echo "FAILED: $*"
    journalctl --no-pager -o cat -n 60 -u 'live360*'
    exit 1
}

within() { # LABEL COMMAND…
    local label=$1 until=$((SECONDS + PATIENCE_S))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || failed "waited $PATIENCE_S s for: $label"
        sleep 0.1
    done
    echo "ok: $label"
}
check() { # LABEL COMMAND…
    local label=$1
    shift
    "$@" >/dev/null 2>&1 || failed "$label"
    echo "ok: $label"
}
differs() { ! "$@"; }

get() { curl -sfk --max-time 5 "$@"; }
streams() { get http://127.0.0.1:8088/api/streams | tr -d ' \n'; }
is_live() { streams | grep -q '"state":"live"'; }
rungs() { get http://127.0.0.1:8088/hls/test.m3u8 | grep -c '^#EXT-X-STREAM-INF'; }
has_ladder() { [ "$(rungs)" -ge 2 ]; }
segment_of_smallest() {
    local rung list
    rung=$(get http://127.0.0.1:8088/hls/test.m3u8 | grep -v '^#' | tail -n 1)
    [[ "$rung" == /* ]] || rung=/hls/$rung
    list=$(get "http://127.0.0.1:8088$rung" | grep -v '^#' | head -n 1)
    [[ "$list" == /* ]] || list=${rung%/*}/$list
    get -o /dev/null "http://127.0.0.1:8088$list"
}
asset_is() { streams | grep -q "\"state\":\"$1\""; }
main_pid() { systemctl show -p MainPID --value "$1"; }
property() { systemctl show -p "$2" --value "$1"; }
is() { [ "$(property "$1" "$2")" = "$3" ]; }
picture() {
    runuser -u nobody -- live360 testsource --log error --size 640x320 --bitrate 800k --reconnect 1 \
        rtmp://127.0.0.1/live/test &
    picture=$!
}

cat >>"$CONFIG" <<'END'
[vod]
effort = "veryfast"
END
sed -i '1i ladder = ["source", "320w 300k"]' "$CONFIG"
sed -i 's/^# tls = .*/tls = "self-signed"/' "$CONFIG"

check "nothing was started by installing" differs systemctl is-active live360
check "the unit starts, so the program has told systemd that it is ready" systemctl start live360
status=/proc/$(main_pid live360)/status
check "it has no rights" grep -qE '^CapBnd:\s0+$' "$status"
check "it can get none" grep -qE '^NoNewPrivs:\s1$' "$status"
check "its system calls are filtered" grep -qE '^Seccomp:\s2$' "$status"
check "it is not root" differs grep -qE '^Uid:\s0\s' "$status"
check "TLS with a certificate of its own works (netlink)" get https://127.0.0.1:8443/api/streams
check "it may write nowhere but in its folder" differs nsenter -t "$(main_pid live360)" -m -- touch /usr/x
check "systemd was told where it listens" grep -q rtmp <<<"$(property live360 StatusText)"

picture
within "a picture is live" is_live
within "the encoding child works in the sandbox" has_ladder
within "what it encodes can be played" segment_of_smallest
check "the child is nicer than its parent" test "$(ps -o ni= -C live360 --sort=-ni | head -n 1)" -gt 0
pkill -KILL -f 'live360 ladder-child'
within "after the child's death there is another" pgrep -f 'live360 ladder-child'
check "and the service has gone on" is live360 NRestarts 0

kill -KILL "$(main_pid live360)"
within "killed, it is started again" is live360 NRestarts 1
within "and the picture goes on" is_live

kill "$picture"
check "a stream can be ended" curl -sf -X POST http://127.0.0.1:9091/control/streams/test/end
within "its recording is there" asset_is instant
PATIENCE_S=120 within "a worker has made the better ladder in the sandbox" asset_is ready
check "nobody was refused anything" differs grep -iE 'not permitted|permission denied|bad system call' \
    <<<"$(journalctl --no-pager -o cat -u live360)"

began=$SECONDS
check "it stops" systemctl stop live360
check "in good order" is live360 Result success
echo "   (in $((SECONDS - began)) s)"

cp "$CONFIG" /root/kept.toml
echo 'nonsense = 1' | cat - /root/kept.toml >"$CONFIG"
check "a wrong configuration is refused" differs systemctl start live360
check "with exit code 64" is live360 ExecMainStatus 64
check "and not tried again" is live360 NRestarts 0
cp /root/kept.toml "$CONFIG"

check "the three tiers start as services of their own" systemctl start live360-origin live360-edge live360-transcoder
picture
within "they work together" segment_of_smallest
check "the transcoder gives way" test "$(ps -o ni= -p "$(main_pid live360-transcoder)")" -eq 10
kill "$picture"
check "starting all of it in one stops the three" systemctl start live360
check "the edge is gone" differs systemctl is-active live360-edge

check "the package can be removed" dpkg --remove live360
check "what ran is stopped" differs systemctl is-active live360
check "the configuration stays" test -f "$CONFIG"
check "it can be purged" dpkg --purge live360
check "the configuration is gone" test ! -e "$CONFIG"
check "recordings are not" test -d /var/lib/live360/egress/vod
echo "boot test: all good"
