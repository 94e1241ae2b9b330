#!/usr/bin/env bash
# check.sh PROGRAM: makes the package around a program, looks it over, and runs what is in it from an unpacked folder. Takes
# seconds and no rights; boot.sh tries the rest on a booted system.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
[ $# -eq 1 ] || die "usage: deploy/deb/check.sh PROGRAM"
work=$(mktemp -d "$STATE/debcheck.XXXXXX")
server=
# shellcheck disable=SC2317,SC2329  # the trap calls it
leave() {
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT
package=$(QUICK=1 "$ROOT/deploy/deb/build.sh" "$1" "$work" 2>"$work/log") || { cat "$work/log" >&2; die "the package can't be made"; }

field() { dpkg-deb --field "$package" "$1"; }
[ "$(field Package) $(field Version)" = "live360 $("$1" --version | cut -d' ' -f2)-1" ] || die "$(field Package) $(field Version)?"
for library in libavcodec libavformat libavutil libswscale libswresample libc6; do
    [[ "$(field Depends)" == *"$library"* ]] || die "the package doesn't depend on $library: $(field Depends)"
done
root=$work/root
dpkg-deb --extract "$package" "$root"
dpkg-deb --control "$package" "$work/control"
for file in usr/bin/live360 lib/systemd/system/live360{,-origin,-edge,-transcoder}.service usr/lib/sysusers.d/live360.conf \
    usr/share/doc/live360/{copyright,third-party.txt.gz,changelog.gz,changelog.Debian.gz,examples/live360.toml,runbooks/README.md} \
    usr/share/man/man1/live360{,-edge,-vod-redrive}.1.gz usr/share/bash-completion/completions/live360; do
    [ -s "$root/$file" ] || die "the package lacks /$file"
done
[ "$(stat -c %a "$root/etc/live360/secrets")" = 700 ] || die "everybody may look into /etc/live360/secrets"
# What operators change is theirs: all of /etc, and nothing else.
diff <(cd "$root" && find etc -type f -printf '/%p\n' | sort) "$work/control/conffiles" >&2 || die "conffiles are not what is in /etc"
(cd "$root" && md5sum --quiet -c "$work/control/md5sums") || die "md5sums are wrong"
for script in postinst prerm postrm; do
    sh -n "$work/control/$script" || die "$script is no shell script"
done
# The units start what the package has, with the configuration that it has.
for unit in "$root"/lib/systemd/system/*.service; do
    read -r program role _ config < <(sed -n 's/^ExecStart=//p' "$unit")
    if ! [ -x "$root$program" ] || ! [ -f "$root$config" ]; then die "$unit starts what isn't there"; fi
    "$root$program" "$role" --help >/dev/null || die "$unit: there is no command $role"
done
# dpkg takes it, with its database in a folder: the database of the machine is asked for nothing.
mkdir -p "$work/dpkg/updates" "$work/dpkg/info" && : >"$work/dpkg/status"
dpkg --admindir="$work/dpkg" --no-act --force-depends --force-not-root --install "$package" >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; die "dpkg doesn't take the package"; }

# It runs with the packaged configuration; only folder and ports are the test's.
data=$work/data
sed "s|^data_dir = \"/var/lib/live360\"$|data_dir = \"$data\"|" "$root/etc/live360/live360.toml" >"$work/live360.toml"
grep -qF "$data" "$work/live360.toml" || die "the packaged configuration has another data_dir than the units"
ports=()
for key in origin.rtmp origin.http edge.http admin.http; do ports+=(--set "$key=127.0.0.1:0"); done
coproc SERVER { exec "$root/usr/bin/live360" all --config "$work/live360.toml" "${ports[@]}" 2>"$work/log"; }
server=$SERVER_PID
exec {stdout}<&"${SERVER[0]}"
IFS= read -r -t 60 ready <&"$stdout" || { cat "$work/log" >&2; die "the packaged program doesn't get ready"; }
[[ "$ready" == "READY {"* ]] || die "not READY but: $ready"
kill -TERM "$server"
status=0
wait "$server" || status=$?
server=
[ "$status" -eq 0 ] || { cat "$work/log" >&2; die "told to leave, it ended with $status"; }
say "the package: $(du -h "$package" | cut -f1) around this program, all good"
