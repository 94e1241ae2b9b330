#!/usr/bin/env bash
# Prints the path of a tar with a small Debian 12 that has systemd, for tests that need a machine of their own; makes it the
# first time (as root, with debootstrap).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tar=$STATE/debian-12.tar
if ! [ -f "$tar" ]; then
    [ "$(id -u)" -eq 0 ] || die "making a Debian takes root"
    command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
    work=$(mktemp -d "$STATE/debian.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    step "Fetching a small Debian 12" debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates \
        bookworm "$work/root"
    # With its security updates: versions are compared with them.
    printf 'deb http://deb.debian.org/debian-security bookworm-security main\n' >"$work/root/etc/apt/sources.list.d/security.list"
    step "Bringing it up to date" chroot "$work/root" sh -c \
        'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get upgrade -y -q && apt-get clean'
    tar cf "$tar.part" -C "$work/root" .
    mv "$tar.part" "$tar"
fi
printf '%s\n' "$tar"
