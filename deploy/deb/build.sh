#!/usr/bin/env bash
# build.sh PROGRAM FOLDER: makes FOLDER/live360_VERSION_ARCHITECTURE.deb around a program that was built on this Debian.
# QUICK=1 compresses little, for tests. The same program and commit give the same package.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
[ $# -eq 2 ] || die "usage: deploy/deb/build.sh PROGRAM FOLDER"
[ -x "$1" ] || die "$1 is no program: build it first (make deb does)"
for tool in dpkg-deb dpkg-shlibdeps strip; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install dpkg-dev binutils"
done
program=$(realpath "$1") out=$(realpath "$2")
cd "$ROOT"

work=$(mktemp -d "$STATE/deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root here=deploy/deb
doc=$root/usr/share/doc/live360
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}
export SOURCE_DATE_EPOCH
# As the program itself says, so that package and program never differ.
version=$("$program" --version | cut -d' ' -f2)
[[ "$version" =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] || die "$program --version says no version: $version"
version=${version/-/\~}
architecture=$(dpkg --print-architecture)

install -D -m 755 "$program" "$root/usr/bin/live360"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/live360"
for unit in deploy/systemd/*.service; do
    install -D -m 644 "$unit" "$root/lib/systemd/system/$(basename "$unit")"
done
install -D -m 644 deploy/systemd/live360.sysusers "$root/usr/lib/sysusers.d/live360.conf"
install -D -m 644 "$here/live360.toml" "$root/etc/live360/live360.toml"
install -D -m 644 "$here/default" "$root/etc/default/live360"
install -d -m 700 "$root/etc/live360/secrets"

install -D -m 644 deploy/live360.toml "$doc/examples/live360.toml"
cp -r deploy/runbooks "$doc/runbooks"
chmod -R u=rwX,go=rX "$doc/runbooks"
install -m 644 "$here/copyright" "$doc/copyright"
"$here/third-party.py" | gzip -9n >"$doc/third-party.txt.gz"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
maintainer=$(sed -n 's/^Maintainer: //p' "$here/control.in")
gzip -9n >"$doc/changelog.Debian.gz" <<END
live360 ($version-1) unstable; urgency=medium

  * Version $version; see changelog.gz.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END

mkdir -p "$work/help" "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions"
"$program" help-files "$work/help"
for page in "$work"/help/*.1; do
    gzip -9nc "$page" >"$root/usr/share/man/man1/$(basename "$page").gz"
done
install -m 644 "$work/help/live360.bash" "$root/usr/share/bash-completion/completions/live360"
install -D -m 644 "$here/lintian-overrides" "$root/usr/share/lintian/overrides/live360"

# dpkg-shlibdeps reads which libraries the program wants from the program, and whose they are from dpkg.
mkdir "$work/debian"
cp "$here/control.in" "$work/debian/control"
shared=$(cd "$work" && dpkg-shlibdeps -O "$root/usr/bin/live360" 2>"$work/shlibdeps.log") ||
    { cat "$work/shlibdeps.log" >&2; die "dpkg-shlibdeps can't tell what the program needs"; }
shared=${shared#shlibs:Depends=}

mkdir "$root/DEBIAN"
{
    printf 'Package: live360\nVersion: %s-1\nArchitecture: %s\n' "$version" "$architecture"
    printf 'Maintainer: %s\nSection: video\nPriority: optional\n' "$maintainer"
    printf 'Installed-Size: %s\n' "$(du -k --apparent-size -s "$root" | cut -f1)"
    # Who asks for certificates of S3 or an authority trusts what the system trusts.
    printf 'Depends: %s, systemd | systemd-standalone-sysusers, ca-certificates\n' "$shared"
    sed -n '/^Description:/,$p' "$here/control.in"
} >"$root/DEBIAN/control"
(cd "$root" && find etc -type f -printf '/%p\n' | sort) >"$root/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN/"
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
chmod 644 "$root/DEBIAN/control" "$root/DEBIAN/conffiles" "$root/DEBIAN/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch --no-dereference -d "@$SOURCE_DATE_EPOCH"

squeeze=(-Zxz)
[ -z "${QUICK:-}" ] || squeeze=(-Zgzip -z1)
package=$out/live360_$version-1_$architecture.deb
dpkg-deb --root-owner-group "${squeeze[@]}" --build "$root" "$package" >&2
printf '%s\n' "$package"
