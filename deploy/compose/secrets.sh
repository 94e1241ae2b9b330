#!/usr/bin/env bash
# Makes what compose.yaml hands to its containers as secrets, each once; what is there stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The folder keeps others of this machine out. In it, users of several containers read the files, so they can't be
# narrower than this (live360 warns of that; the warning doesn't know the folder).
mkdir -p -m 700 secrets
for name in admin_token publish_key grafana_password; do
    [ -s "secrets/$name" ] && continue
    head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"secrets/$name"
    chmod 444 "secrets/$name"
    printf 'made %s\n' "$PWD/secrets/$name"
done
