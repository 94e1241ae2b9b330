#!/usr/bin/env python3
"""image-test.py DEBIAN_TAR PROGRAM: the last stage of the Dockerfile without an engine.

Reads the stage, unpacks a small Debian 12 in place of its base, runs each RUN there (chroot), copies what COPY copies (PROGRAM
in place of what the build stage made), and starts what the image would start, as its user and with its environment. It must
answer READY, be healthy by the image's own health check, and leave in good order by its stop signal. Takes root.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How long the program may take to be ready, and to leave when nobody watches, in s.
READY_S, LEAVE_S = 60, 30


def steps(dockerfile: str, stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage, lines that are continued put together, comments left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found, inside = [], False
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            inside = rest.endswith(f" AS {stage}")
        if inside:
            found.append((word, rest.strip()))
    return found


class Image:
    def __init__(self, root: pathlib.Path, program: pathlib.Path):
        self.root, self.program = root, program
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.user, self.folder, self.entry, self.command, self.health, self.stop = "0:0", "/", [], [], [], "SIGTERM"

    def take(self, word: str, rest: str) -> None:
        match word:
            case "FROM" | "EXPOSE" | "VOLUME":
                pass
            case "RUN":
                self.chroot(["/bin/sh", "-c", rest], user="0:0", check=True, env={"DEBIAN_FRONTEND": "noninteractive"})
            case "COPY":
                self.copy(rest.split())
            case "ENV":
                self.environment |= dict(pair.split("=", 1) for pair in rest.split())
            case "USER":
                self.user = rest
            case "WORKDIR":
                self.folder = rest
            case "STOPSIGNAL":
                self.stop = rest
            case "HEALTHCHECK":
                self.health = json.loads(rest[rest.index("CMD") + 3 :])
            case "ENTRYPOINT":
                self.entry = json.loads(rest)
            case "CMD":
                self.command = json.loads(rest)
            case _:
                sys.exit(f"image-test.py doesn't know what {word} does")

    def copy(self, words: list[str]) -> None:
        options = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))
        *sources, target = [word for word in words if not word.startswith("--")]
        for source in sources:
            # Only the program comes from another stage.
            path = self.program if "from" in options else ROOT / source
            place = self.root / target.lstrip("/")
            shutil.copy(path, place)
            place.chmod(int(options.get("chmod", "755"), 8))

    def chroot(self, command: list[str], user: str | None = None, check: bool = False, env: dict | None = None, **more):
        arguments = ["chroot", f"--userspec={user or self.user}", str(self.root), *command]
        run = subprocess.run if check or "timeout" in more else subprocess.Popen
        if check:
            more |= {"check": True, "stdout": sys.stderr}
        return run(arguments, env=self.environment | (env or {}), **more)


def until(label: str, seconds: float, test) -> None:
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            sys.exit(f"waited {seconds} s for: {label}")
        time.sleep(0.2)


def tried(image: Image) -> None:
    """Starts the image's command and looks whether it does what the Dockerfile says."""
    # WORKDIR is the shell's: chroot knows none. exec, so that the signal reaches the program.
    line = f'cd "{image.folder}" && exec "$@"'
    command = ["/bin/sh", "-c", line, "sh", *image.entry, *image.command]
    began = time.monotonic()
    with open(image.root / "log", "wb") as log:
        server = image.chroot(command, stdout=subprocess.PIPE, stderr=log)
    try:
        ready = server.stdout.readline().decode()
        if not ready.startswith("READY {"):
            sys.exit(f"not ready: {ready}{(image.root / 'log').read_text()}")
        print(f"ready after {time.monotonic() - began:.2f} s: {ready.strip()}")
        uid = os.stat(f"/proc/{server.pid}").st_uid
        if uid == 0:
            sys.exit("it runs as root")
        health = lambda: image.chroot(image.health, timeout=5, capture_output=True).returncode == 0
        until("the health check to say yes", READY_S, health)
        server.send_signal(getattr(signal, image.stop))
        code = server.wait(LEAVE_S)
        if code != 0:
            sys.exit(f"told to leave, it ended with {code}")
        if health():
            sys.exit("the health check says yes of a program that is gone")
        print("healthy, and has left in good order")
    finally:
        if server.poll() is None:
            server.kill()


def main() -> None:
    if len(sys.argv) != 3 or os.getuid() != 0:
        sys.exit("usage, as root: image-test.py DEBIAN_TAR PROGRAM")
    stage = steps((ROOT / "deploy" / "compose" / "Dockerfile").read_text(), "runtime")
    with tempfile.TemporaryDirectory(prefix="live360-image.", dir=ROOT / ".setup") as work:
        root = pathlib.Path(work)
        subprocess.run(["tar", "xf", sys.argv[1], "-C", work], check=True)
        # A container's engine gives these.
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
        try:
            image = Image(root, pathlib.Path(sys.argv[2]))
            for word, rest in stage:
                print(f"  {word} {rest[:100]}", file=sys.stderr)
                image.take(word, rest)
            tried(image)
        finally:
            subprocess.run(["umount", str(root / "proc")], check=True)


main()
