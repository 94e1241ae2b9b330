#!/usr/bin/env python3
"""Runs what a machine does when it starts, as the template has it, with everything around it played: what it tells the stack
must be true, whatever fails."""

import hashlib
import os
import re
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

from template import TEMPLATE, parse, resources, user_data

PACKAGE = b"a package"
SECRET = "what nobody else may read"

# Commands by name: what stands in for them. $STAGE is where they note what they were asked, $FAIL which of them fails.
PLAYED = {
    "aws": """
case "$1 $2" in
"s3 cp") printf '%s' "$PACKAGE_TEXT" >"${@: -1}" ;;
"secretsmanager get-secret-value") [ "$FAIL" != secret ] && echo "$SECRET_TEXT" ;;
"cloudformation signal-resource") echo "signal ${@: -1}" >>"$STAGE/told" ;;
"logs put-log-events") echo log >>"$STAGE/told" ;;
esac
""",
    "apt-get": '[ "$FAIL" != apt ] || case "$*" in *live360.deb) exit 100 ;; esac',
    "systemctl": 'echo "systemctl $*" >>"$STAGE/told"; [ "$FAIL" != start ]',
    "curl": '[ "$FAIL" != ready ]',
}


def scripts():
    template = parse(TEMPLATE.read_text())
    return {name: user_data(template, name) for name, _ in resources(template, "AWS::EC2::LaunchTemplate")}


class Start(unittest.TestCase):
    """One machine of each kind."""

    def start(self, text, fail="", package=PACKAGE):
        """Runs it; gives what the stack was told, and the folder that was its root."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name)
        for name in ("bin", "etc/default", "etc/systemd/system", "root", "var/tmp", "var/log", "var/lib/cloud/data"):
            (root / name).mkdir(parents=True)
        (root / "var/lib/cloud/data/instance-id").write_text("i-1\n")
        (root / "var/log/cloud-init-output.log").write_text('what "happened"\n')
        for name, script in PLAYED.items():
            (root / "bin" / name).write_text("#!/bin/bash\n" + script)
            (root / "bin" / name).chmod(0o755)
        text = text.replace("${PackageSha256}", hashlib.sha256(PACKAGE).hexdigest())
        # As CloudFormation fills in; only names of its own begin so.
        head, common = text.split("set -Eeuo pipefail", 1)
        text = re.sub(r"\$\{(?:AWS::)?\w+\}", "x", head) + "set -Eeuo pipefail" + common
        text = re.sub(r"(?<![\w$.])/(etc|root|var)/", rf"{root}/\1/", text)
        played = {"STAGE": str(root), "FAIL": fail, "SECRET_TEXT": SECRET, "PACKAGE_TEXT": package.decode()}
        env = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "HOSTNAME": "host", **played}
        done = subprocess.run(["bash"], input=text, env=env, capture_output=True, text=True, timeout=30, check=False)
        told = (root / "told").read_text().splitlines() if (root / "told").exists() else []
        self.assertNotIn(SECRET, done.stdout + done.stderr)
        return told, root, done

    def test_it_tells_of_success_when_the_program_is_ready(self):
        for name, text in scripts().items():
            with self.subTest(name):
                told, root, done = self.start(text)
                self.assertEqual([line for line in told if line.startswith("signal")], ["signal SUCCESS"], done.stderr)
                tier = re.search(r"^TIER=(\w+)", text, re.M)[1]
                self.assertIn(f"systemctl enable --now live360-{tier}", told)
                self.assertIn("AWS_REGION=x", (root / "etc/default/live360").read_text())
                self.assertNotEqual((root / "etc/live360/live360.toml").read_text(), "")
                for secret in re.findall(r"(\w+)=\$\{\w+\}", re.search(r'SECRETS="(.*)"', text)[1]):
                    file = root / "etc/live360/secrets" / secret
                    self.assertEqual(file.read_text().strip(), SECRET)
                    self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
                self.assertEqual(stat.S_IMODE((root / "etc/live360/secrets").stat().st_mode), 0o700)

    def test_it_tells_of_failure_and_keeps_the_log_whatever_fails(self):
        # The rule "start" holds that all machines run the same.
        for fail in ("apt", "secret", "start", "ready"):
            with self.subTest(fail):
                told, _, done = self.start(scripts()["EdgeTemplate"], fail)
                self.assertEqual({line for line in told if line.startswith("signal")}, {"signal FAILURE"}, done.stderr)
                self.assertIn("log", told)

    def test_it_installs_nothing_but_the_package_that_was_meant(self):
        told, root, _ = self.start(scripts()["EdgeTemplate"], package=b"another package")
        self.assertEqual(told, ["log", "signal FAILURE"])
        self.assertFalse((root / "etc/live360").exists())


if __name__ == "__main__":
    unittest.main()
