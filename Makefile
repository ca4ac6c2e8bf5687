# Set up, run and test buildsrht. `make` alone says what there is.
#
# Touches the checkout and Debian's package database, nothing else.

PORT ?= 5002
VAR ?= var
PYTHON ?= /usr/bin/python3
export PORT VAR
# Where Debian keeps nft and mke2fs; an ordinary user's PATH does not look there.
export PATH := $(PATH):/usr/sbin:/sbin

IMAGES = debian/stable
PIP_INSTALL = bin/pip --disable-pip-version-check install --no-cache-dir

.PHONY: help setup packages image demo run test bench chaos lint audit reference man constraints clean

help:
	@echo 'make TARGET [PORT=$(PORT)] [VAR=$(VAR)]'
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 15

setup: .venv/installed ## install what is missing: Debian packages (with sudo) and .venv

packages:
	@contrib/install-debian-packages

# After the Debian packages, which bring Python's venv, but not again because of them.
.venv/installed: setup.cfg pyproject.toml constraints.txt | packages
	@echo 'Installing Python packages into .venv'
	$(PYTHON) -m venv .venv
	.venv/$(PIP_INSTALL) --constraint constraints.txt --editable '.[test,lint]'
	@touch $@

image: setup ## build the default image, unless it is up to date
	@printf '%s\n' $(IMAGES) | xargs -P 2 -L 1 .venv/bin/buildsrht image build

demo: setup ## run one job on a queue of its own, from submission to artifact
	@.venv/bin/python contrib/demo

run: setup image ## serve on http://127.0.0.1:PORT until Ctrl-C; state is kept in VAR
	@exec .venv/bin/buildsrht up

# What boots no guest on all processors, then the rest one by one: a guest wants several.
# Of images, what takes longest first, as two are built at a time.
test: IMAGES = 'debian/bookworm --arch arm64' debian/sid debian/trixie debian/bookworm
test: setup image ## run the whole test suite, on real servers and guests; or pytest with ARGS
ifdef ARGS
	.venv/bin/pytest $(ARGS)
else
	@.venv/bin/pytest -m 'not vm' -n $$(nproc) --maxprocesses 8; fast=$$?; \
	.venv/bin/pytest -m vm && exit $$fast
endif

bench: setup image ## measure this checkout on this machine, into bench/results.json; ARGS as for --help
	@.venv/bin/python -m bench $(ARGS)

chaos: setup image ## run jobs while parts are killed and cut off, as root, and check that nothing is lost; ARGS as for --help
	@.venv/bin/python -m chaos $(ARGS)

lint: setup ## check style, types, and what may be an opening for an attack
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy buildsrht worker
	@git ls-files | xargs grep -lE '^#!/bin/(ba)?sh' | xargs shellcheck --severity=warning

audit: setup ## look for packages that are known to be vulnerable, in a list on the network
	@contrib/audit

reference: setup ## write docs/reference anew, from the schema and the code
	@.venv/bin/python -m contrib.reference

man: setup ## write contrib/man/buildsrht.1 anew, from the commands
	@.venv/bin/python -m contrib.man

constraints: packages ## pin the newest version of every Python package
	rm -rf build/newest
	$(PYTHON) -m venv build/newest
	build/newest/$(PIP_INSTALL) --editable '.[test,lint]'
	(head -n 1 constraints.txt; build/newest/bin/pip freeze --exclude-editable) > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean: ## remove what setup and demo made; VAR stays, it holds your jobs
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis $(VAR)/demo
	find buildsrht worker chaos tests -name __pycache__ -prune -exec rm -rf {} +
