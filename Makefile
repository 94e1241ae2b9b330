# Everything a developer runs, and what CI runs. Each target first installs what it needs, once (see scripts/setup.sh).
#
#   make run           a server with a moving test picture on this machine
#   make test          all tests
#   make check         formatting, lints, documentation, house rules
#   make bench         which measurements there are; `make bench-NAME` runs one
#   make fix           what formatters and linters can mend by themselves
#   make setup         only install what the targets need
#   make player        only build the watch page
#   make deb           a Debian package, target/live360_VERSION_ARCHITECTURE.deb
#   make check-deb     installs that in a fresh Debian 12 and boots it (root, debootstrap, systemd-container; minutes)
#   make check-docker  runs the Dockerfile's last stage in a chroot, for machines without an engine (root, debootstrap)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test check bench fix setup setup-build setup-test player release deb check-deb check-docker

# Cargo's own folder, and what setup.sh put below .setup because the machine had none or an old one.
export PATH := $(CURDIR)/.setup/cargo/bin:$(CURDIR)/.setup/node/bin:$(HOME)/.cargo/bin:$(PATH)

# For `make run`: further arguments of `live360 all`, as ARGS="--set origin.rtmp=0.0.0.0:1935 --set publish.key=SECRET".
ARGS ?=

help:
	@sed -n 's/^#   //p' Makefile

setup: setup-build setup-test

setup-build:
	@scripts/setup.sh build

setup-test:
	@scripts/setup.sh build test

player: setup-build
	@scripts/player.sh

release: player
	@cargo build --release --locked -p live360

run: release
	@scripts/run.sh target/release/live360 $(ARGS)

test: setup-test player
	@scripts/test.sh

check: setup-test player
	@scripts/check.sh

bench: setup-test
	@scripts/bench.sh

bench-%: setup-test release
	@scripts/bench.sh $*

deb: release
	@deploy/deb/build.sh target/release/live360 target

check-deb: setup-test release
	@deploy/deb/check.sh target/release/live360
	@deploy/deb/boot.sh "$$(deploy/deb/build.sh target/release/live360 target)"

check-docker: setup-test release
	@.setup/python/bin/python deploy/compose/image-test.py "$$(scripts/debian.sh)" target/release/live360

fix: setup-build player
	cargo clippy --workspace --all-targets --locked --fix --allow-dirty --allow-staged
	cargo fmt --all
	cd player && npx biome check --write
