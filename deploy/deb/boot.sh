#!/usr/bin/env bash
# boot.sh PACKAGE: installs the package in a fresh Debian 12, boots it (systemd-nspawn, loopback only), and lets boot-test.sh
# try there what the units promise. Needs root, debootstrap and systemd-container; some two minutes, one more the first time.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
if [ $# -ne 1 ] || ! [ -f "$1" ]; then die "usage: deploy/deb/boot.sh PACKAGE"; fi
package=$(realpath "$1") here=$ROOT/deploy/deb
[ "$(id -u)" -eq 0 ] || die "booting a system takes root"
for tool in debootstrap systemd-nspawn; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install debootstrap systemd-container"
done

# How long the system may run, in s.
BOOTED_S=420

if command -v lintian >/dev/null; then
    lintian --fail-on error,warning "$package" >&2 || die "lintian finds fault with the package"
fi

base=$("$ROOT/scripts/debian.sh")
work=$(mktemp -d "$STATE/boot.XXXXXX")
# What is mounted into it must be gone first; nspawn unmounts its own.
trap 'umount "$work/root/proc" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/root"
tar xf "$base" -C "$work/root"
root=$work/root

cp "$package" "$root/root/live360.deb"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# Nothing is running yet, so nothing is to be started.
mount -t proc proc "$root/proc"
step "Installing the package in a fresh Debian 12" chroot "$root" \
    env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends /root/live360.deb curl procps
umount "$root/proc"

install -m 755 "$here/boot-test.sh" "$root/root/boot-test.sh"
cat >"$root/etc/systemd/system/boot-test.service" <<END
[Unit]
After=multi-user.target dbus.service
# Whatever comes of it, the machine is done.
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/root/boot-test.sh
StandardOutput=append:/root/boot-test.out
StandardError=append:/root/boot-test.out
[Install]
WantedBy=multi-user.target
END
ln -s /etc/systemd/system/boot-test.service "$root/etc/systemd/system/multi-user.target.wants/boot-test.service"

# The system gets cgroups as machines have them today (v2), whatever this one has: with v1 systemd isn't told when a service's
# last process is gone, and waits.
boot() {
    # shellcheck disable=SC2016  # what is expanded, is so inside
    timeout "$BOOTED_S" unshare --mount sh -c '
        if [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ]; then
            umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
        fi
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --quiet --keep-unit --register=no --private-network \
            --console=pipe --boot --directory="$1"' sh "$root"
}
status=0
step "Booting it" boot || status=$?
cat "$root/root/boot-test.out" >&2 || true
grep -qx "boot test: all good" "$root/root/boot-test.out" || die "the system did not do what the units promise (exit $status)"
