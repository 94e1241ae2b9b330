#!/usr/bin/env bash
# Installs what the project needs and the machine lacks: `setup.sh build` to build and run, `setup.sh build test` also to
# test. System packages come from apt (Debian 12 or newer); everything else goes below .setup in this folder.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# FFmpeg's headers, and what bindgen and the linker need to bind them.
BUILD_PACKAGES=(gcc libc6-dev make pkg-config clang libclang-dev libavcodec-dev libavformat-dev libavutil-dev
    libavfilter-dev libavdevice-dev libswscale-dev libswresample-dev)
# The real publishers and readers of the end-to-end tests; Python for servers that speak S3; what looks over scripts, units
# and the package.
TEST_PACKAGES=(ffmpeg librtmp-dev curl python3 python3-venv shellcheck systemd dpkg-dev)

# The oldest Node that Vite runs on.
NODE_MAJOR=20

missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s\n' "$package"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt_install() {
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || die "these packages are missing, and neither root nor sudo is at hand: $*"
    # Asked for here, where a terminal can still answer: the steps below have none.
    [ "$(id -u)" -eq 0 ] || [ ! -t 0 ] || sudo -v
    step "apt-get update" as_root apt-get update -q
    step "Installing $*" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

packages() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        fresh packages "$*" || say "note: this is not Debian; make sure that you have what these packages hold: $*"
        done_for packages "$*"
        return
    fi
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

rust() {
    command -v cargo >/dev/null || die "Rust is missing: install it from https://rustup.rs, then try again"
    local tool
    for tool in clippy fmt; do
        if ! cargo "$tool" --version >/dev/null 2>&1; then
            command -v rustup >/dev/null || die "cargo $tool is missing, and rustup, which would install it, too"
            step "Installing cargo $tool" rustup component add "${tool/fmt/rustfmt}"
        fi
    done
}

node_is_new() {
    local major
    major=$(node --version 2>/dev/null | sed 's/^v//; s/\..*//')
    [ -n "$major" ] && [ "$major" -ge "$NODE_MAJOR" ] && command -v npm >/dev/null
}

ensure_node() {
    node_is_new && return
    if ! command -v npm >/dev/null && command -v apt-get >/dev/null; then
        apt_install nodejs npm
        hash -r
        node_is_new && return
    fi
    command -v npm >/dev/null || die "Node is missing: install Node $NODE_MAJOR or newer with npm, then try again"
    # Debian 12's own is older; npm has the program itself as a package, and it runs Debian's npm well.
    step "Installing Node 22 below .setup" npm install --no-audit --no-fund --prefix "$STATE/npm" node@22
    mkdir -p "$STATE/node/bin"
    ln -sf "$STATE/npm/node_modules/node/bin/node" "$STATE/node/bin/node"
    hash -r
    PATH=$STATE/node/bin:$PATH node_is_new || die "Node is still older than $NODE_MAJOR: $(command -v node)"
}

nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    fresh nextest failed && return
    # Unoptimised: it builds in a third of the time, and tests take no longer under it.
    step "Building cargo-nextest below .setup" \
        cargo install cargo-nextest --locked --debug --root "$STATE/cargo" --target-dir "$STATE/nextest-build" || {
        say "note: going on without it; tests then run by cargo test, which knows no time limits"
        done_for nextest failed
    }
    rm -rf "$STATE/nextest-build"
}

python_servers() {
    local list=$ROOT/scripts/requirements.txt sum
    sum=$(python3 --version && sha256sum <"$list")
    [ -x "$STATE/python/bin/moto_server" ] && fresh python "$sum" && return
    # Also when Python itself was changed: what was installed for another one doesn't run.
    step "Making a Python environment below .setup" python3 -m venv --clear "$STATE/python"
    step "Installing scripts/requirements.txt below .setup" \
        "$STATE/python/bin/pip" install --disable-pip-version-check -r "$list"
    done_for python "$sum"
}

browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null && return
    done
    command -v apt-get >/dev/null || die "a Chromium is missing, which the tests of the page need"
    apt_install chromium
}

wanted=()
for group in "$@"; do
    case $group in
    build) wanted+=("${BUILD_PACKAGES[@]}") ;;
    test) wanted+=("${TEST_PACKAGES[@]}") ;;
    *) die "setup.sh: $group is none of: build test" ;;
    esac
done
packages "${wanted[@]}"
rust
ensure_node
if [[ " $* " == *" test "* ]]; then
    browser
    nextest
    python_servers
fi
