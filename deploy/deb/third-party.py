#!/usr/bin/env python3
"""Lists the Rust libraries inside the program, with their licences and the notices that they ask to be passed on.

Reads `cargo metadata` (offline: the packages are there once the program was built); writes text to stdout. A text that
many packages share is written once.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

NOTICE = re.compile(r"^(licen[cs]e|copying|notice|unlicense)", re.IGNORECASE)


def main() -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1"]
    command += ["--manifest-path", str(root / "Cargo.toml"), "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    start = next(package["id"] for package in metadata["packages"] if package["name"] == "live360")

    # What is linked: normal dependencies of normal dependencies.
    seen, waiting = set(), [start]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        waiting += [
            dep["pkg"] for dep in nodes[node]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])
        ]
    linked = sorted((packages[i] for i in seen if packages[i]["source"]), key=lambda p: (p["name"], p["version"]))

    texts: dict[str, tuple[str, list[str]]] = {}
    for package in linked:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license'] or 'see its notice below'}")
        folder = pathlib.Path(package["manifest_path"]).parent
        for file in sorted(folder.iterdir()):
            if file.is_file() and NOTICE.match(file.name):
                text = file.read_text(errors="replace").strip()
                digest = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
                texts.setdefault(digest, (text, []))[1].append(name)
    for text, names in texts.values():
        print(f"\n{'=' * 100}\n{', '.join(dict.fromkeys(names))}\n{'=' * 100}\n\n{text}")
    if not linked or not texts:
        sys.exit("found no libraries or no notices: is this the right folder?")


main()
