#!/usr/bin/env bash
# The template in deploy/aws: cfn-lint, our own rules and the breaches that they must find, what machines do when they start,
# CloudFront's function, the README's figures. With --fix the function and the figures are copied to where they stand a
# second time.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT/deploy/aws"

python=$STATE/python/bin
[ -x "$python/cfn-lint" ] || die "cfn-lint is not below .setup: make setup puts it there"
# Nothing is left beside the sources.
export PYTHONDONTWRITEBYTECODE=1

if [ "${1:-}" = --fix ]; then
    "$python/python" checks/run.py --fix
    "$python/python" cost.py --fix
fi
"$python/cfn-lint" --non-zero-exit-code informational template.yaml
"$python/python" checks/run.py
"$python/python" checks/start_test.py --quiet
"$python/python" cost.py --check
node --test --test-reporter=dot checks/viewer-token.test.mjs >/dev/null || node --test checks/viewer-token.test.mjs
