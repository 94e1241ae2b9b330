#!/usr/bin/env bash
# Prints the path of promtool: the machine's own, or Debian's put below .setup (installing its package would start a server).
# Exit 1 if there is none to be had.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if command -v promtool; then exit 0; fi
here=$STATE/promtool
if ! [ -x "$here/usr/bin/promtool" ]; then
    command -v apt-get >/dev/null || exit 1
    rm -rf "$here" && mkdir -p "$here"
    # As whoever runs this; apt's own user couldn't write there, and apt would say so.
    (cd "$here" && step "Fetching promtool" apt-get -o APT::Sandbox::User=root -q download prometheus) || exit 1
    dpkg-deb --fsys-tarfile "$here"/prometheus_*.deb | tar x -C "$here" ./usr/bin/promtool
    rm -f "$here"/prometheus_*.deb
fi
printf '%s\n' "$here/usr/bin/promtool"
