# Every task of a developer, one short target each. Where a machine lacks something, the target says
# what it will install and asks first (only on a terminal).

PYTHON ?= python3
BIN := .venv/bin
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet --upgrade \
	--generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host

unexport PYTHONDONTWRITEBYTECODE # each of many processes would compile all libraries for itself

.DEFAULT_GOAL := help
.PHONY: help venv machine run tour test test-engines check swarm bench chaos docs format lock wheels deb install uninstall clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv:  ## make .venv with the locked requirements and dockwarden itself (only if they changed)
	@PYTHON="$(PYTHON)" sh tests/lab/venv.sh

run: venv  ## watch your engine in audit mode or, if there is none, a lived-in private one
	@exec $(BIN)/python -m tests.lab.run $(ARGS)

tour: venv  ## write the opening of the README from a real run (on a machine without an engine, as root)
	@$(BIN)/python -m tests.lab.tour

machine: # what tests need besides .venv, which may be made at the same time; whoever needs it says what fails
	@! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || "$(PYTHON)" -m tests.lab.machine || true

test: machine venv  ## every test, on real engines and registries that are started for it (ARGS="-k word")
	@$(BIN)/python -m tests.lab.machine
	@$(BIN)/python -m pytest --numprocesses=auto $(ARGS)

test-engines: venv  ## the tests that depend on the engine, on every engine that can be had (ARGS="--only sid/graph")
	@$(BIN)/python -m tests.lab.machine
	@$(BIN)/python -m tests.lab.engines $(ARGS)

check: venv  ## lint, format, types, import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

swarm: venv  ## the stack of deploy/swarm on three private engines, shown at work
	@$(BIN)/python -m tests.lab.machine
	@$(BIN)/python -m tests.e2e.fleet

bench: venv  ## the measurements behind the figures in the docs
	@$(BIN)/python -m tests.lab.machine
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: venv  ## somebody else acts amid removals, on real engines: what is lost is counted (ARGS="--rounds 500 name")
	@$(BIN)/python -m tests.chaos $(ARGS)

docs: venv  ## write the pages and tables of docs/ that are made from code
	@$(BIN)/python -m tests.docs

format: venv  ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

lock: venv  ## pin the newest allowed versions, with hashes, in requirements*.txt
	@$(PIP_COMPILE) --output-file=requirements.txt pyproject.toml
	@$(PIP_COMPILE) --extra=notify --constraint=requirements.txt --output-file=requirements-notify.txt pyproject.toml
	@$(PIP_COMPILE) --extra=dev --output-file=requirements-dev.txt pyproject.toml

wheels: venv  ## fill wheels/ with everything, for hosts and images that are made without network
	@rm -rf wheels
	@$(BIN)/pip download --quiet --only-binary=:all: --require-hashes --dest wheels --requirement requirements-notify.txt
	@$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels .

deb: venv  ## build dist/dockwarden_VERSION_ARCH.deb for this Debian and its Python (WHEELS=folder: without network)
	@deploy/debian/build.sh "$(WHEELS)"

install:  ## put dockwarden on this host with systemd, or upgrade it (WHEELS=folder: without network; NOTIFY=1: with apprise)
	@deploy/install.sh install "$(WHEELS)"

uninstall:  ## take it away again; settings and state stay
	@deploy/install.sh uninstall

clean:  ## remove .venv, caches and build results
	rm -rf .venv wheels .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
