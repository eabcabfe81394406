# make watch   set everything up and watch every connection of this machine
# make test    set everything up and run all tests
.DEFAULT_GOAL := help
SHELL := /bin/bash
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SBIN ?= /usr/sbin
ARGS ?=
PYTEST_ARGS ?=

.PHONY: help setup watch test lint format bench curves story golden docs compare install uninstall clean

help:                   ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1	\2/p' Makefile | expand -t 16

setup:                  ## .venv with dsight, without the development tools
	@tools/setup run

watch: setup            ## set up and start the watcher (ARGS='--failed')
	@$(SUDO) .venv/bin/dsight $(ARGS)

test:                   ## set up and run all tests (PYTEST_ARGS='-k tcp')
	@tools/setup test
	@tools/test $(PYTEST_ARGS)

lint:                   ## ruff check, ruff format --check, mypy --strict on src
	@tools/setup test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format:                 ## rewrite the sources in the house's format
	@tools/setup test
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench:                  ## measure against the other tracers installed (root; ARGS='--rounds 2'); build/bench.json
	@tools/setup run
	@mkdir -p build
	@.venv/bin/python bench/bench.py --json build/bench.json $(ARGS)
	@.venv/bin/python bench/code_cost.py --json build/code.json
	@.venv/bin/python bench/watch_cost.py --json build/watch.json

curves:                 ## how cost grows with the size of the work (root); docs/images/curves.svg
	@tools/setup run
	@.venv/bin/python -c 'import matplotlib' 2>/dev/null || .venv/bin/python -m pip install -q matplotlib
	@mkdir -p build
	@.venv/bin/python bench/curves.py --json build/curves.json --svg docs/images/curves.svg $(ARGS)

story:                  ## the README's story: run it, and `make watch` in another terminal
	@tools/setup run
	@.venv/bin/python examples/story/story.py

golden:                 ## run the golden cases and write what they printed back into them
	@tools/setup test
	@.venv/bin/python -m dsight.testing.golden --write tests/golden

docs:                   ## make the transcripts of docs/connections.md and README.md, and the picture, anew (root, jq, tmux)
	@tools/setup run
	@.venv/bin/python tools/connections_doc.py
	@tools/watch-screenshot

compare:                ## what other tools see of the same failures, as a table (root; ARGS='--write')
	@tools/setup run
	@.venv/bin/python bench/compare.py $(ARGS)

install: setup          ## link dsight and dtrace into /usr/sbin, where scripts' first lines look (SBIN=...)
	@for c in dsight dtrace; do \
	    if [ -e $(SBIN)/$$c ] && [ ! -L $(SBIN)/$$c ]; then echo "$(SBIN)/$$c is not ours: left alone"; exit 1; fi; \
	    $(SUDO) ln -sfn $(CURDIR)/.venv/bin/$$c $(SBIN)/$$c; done

uninstall:              ## take those links away
	@for c in dsight dtrace; do \
	    if [ "$$(readlink $(SBIN)/$$c)" = $(CURDIR)/.venv/bin/$$c ]; then $(SUDO) rm $(SBIN)/$$c; fi; done

clean:                  ## remove what was built
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
