#!/usr/bin/env python3
"""What compose.yaml and the Dockerfiles promise beyond their schema: no rights, no writing, pinned images, and the same
packages as scripts/setup.sh installs. Says everything that is wrong; exit 1 if there is anything."""

import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy" / "compose"
# Leaving takes live360 up to 100 s.
LEAVE_S = 100

wrong: list[str] = []


def check_services(compose: dict) -> None:
    for name, service in compose["services"].items():
        if not service.get("read_only"):
            wrong.append(f"{name}: its file system can be written to")
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
            wrong.append(f"{name}: it keeps rights (cap_drop, security_opt)")
        if service.get("privileged") or service.get("cap_add") or service.get("network_mode"):
            wrong.append(f"{name}: it gets more than it needs")
        if not re.search(r":[^:]*\d+\.\d+", service["image"]):
            wrong.append(f"{name}: {service['image']} is not pinned to a version")
        if service["image"].startswith("live360:"):
            if int(service.get("stop_grace_period", "0s").rstrip("s")) <= LEAVE_S:
                wrong.append(f"{name}: it is killed before it has left")
            if service.get("user") != "10001:10001":
                wrong.append(f"{name}: it is not the image's user")
        for secret in service.get("secrets", []):
            if secret not in compose["secrets"]:
                wrong.append(f"{name}: nobody makes the secret {secret}")
        for key, value in (service.get("environment") or {}).items():
            if re.search(r"TOKEN|PASSWORD|SECRET", key) and not key.endswith("__FILE") and value != "stand-in":
                wrong.append(f"{name}: {key} is a secret in the environment")
    for volume in re.findall(r"- \./(\S+?):/", (HERE / "compose.yaml").read_text()):
        if not (HERE / volume).exists():
            wrong.append(f"there is no {volume}")


def words(text: str) -> list[str]:
    return text.replace("\\\n", " ").split()


def check_packages() -> None:
    setup = re.search(r"^BUILD_PACKAGES=\((.*?)\)", (ROOT / "scripts" / "setup.sh").read_text(), re.MULTILINE | re.DOTALL)
    build = re.search(r"AS build\n.*?--no-install-recommends (.*?)&&", (HERE / "Dockerfile").read_text(), re.DOTALL)
    if not setup or not build or words(setup[1]) != words(build[1]):
        wrong.append("Dockerfile installs other packages to build with than scripts/setup.sh (BUILD_PACKAGES)")


def main() -> None:
    check_services(yaml.safe_load((HERE / "compose.yaml").read_text()))
    check_packages()
    for path in HERE.rglob("*.y*ml"):
        yaml.safe_load(path.read_text())
    for complaint in wrong:
        print(f"deploy/compose: {complaint}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
