# Everything runs from the checkout; `make` alone lists the targets.

SHELL := /bin/bash
PYTHON ?= python3
WORKERS ?= 2
CACHE := $(if $(filter 0,$(shell id -u)),/var/cache,$(or $(XDG_CACHE_HOME),$(HOME)/.cache))
export AUDIT_SCHEMA_SERVERS ?= $(CACHE)/audit-schema/servers

# Migrations run with this search_path. Replacing what exists (PS002, PS015) is safe in a schema
# that only its owner can create in. pgspot can't read a body that is parsed when the function is
# created (RETURN, BEGIN ATOMIC); nor does such a body depend on a search_path later.
PGSPOT := --summary-only --ignore PS002 --ignore PS015 \
  --append <(echo 'SET search_path TO pg_catalog, pg_temp;')

.DEFAULT_GOAL := help
.PHONY: help demo venv servers test test-quick bench lint format docs requirements dist clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: .venv-demo/done ## Show the audit trail at work on a PostgreSQL of its own (ARGS="--help")
	@.venv-demo/bin/audit-schema demo $(ARGS)

venv: .venv/done ## Make .venv with all pinned tools and the package in place

servers: ## Make PostgreSQL 15, 17 and 18 with their extensions, cached outside the checkout
	@.ci/make-server bookworm 15 $(AUDIT_SCHEMA_SERVERS)/15
	@.ci/make-server trixie 17 $(AUDIT_SCHEMA_SERVERS)/17
	@.ci/make-server forky 18 $(AUDIT_SCHEMA_SERVERS)/18

test: venv servers ## Run all tests on all servers, WORKERS=2 at a time (ARGS="-k name")
	.venv/bin/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

test-quick: venv ## Run the fast tests on one server: the newest there is, else the embedded one
	.venv/bin/pytest --quick $(ARGS)

bench: .venv-bench/done servers ## Measure and write docs/performance.md (ARGS="capture tpcb", "--help")
	.venv-bench/bin/python -m benchmarks $(ARGS)

lint: venv ## Check form, types and the safety of the SQL
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pgspot $(PGSPOT) $$(grep -rLE --include '*.sql' '^(RETURN|BEGIN ATOMIC)\b' sql | sort)

format: venv ## Bring the Python code into form
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: venv ## Write docs/sql-reference.md from the comments in the database
	.venv/bin/python docs/sql_reference.py

requirements: venv ## Pin the newest versions in requirements/*.txt
	cd requirements && for name in demo dev bench; do \
	  ../.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --custom-compile-command "make requirements" \
	    --output-file $$name.txt $$name.in || exit; done

dist: venv ## Build the sdist and the wheel in dist/
	.venv/bin/python -m build --no-isolation

clean: ## Remove what the targets made in the checkout; the servers stay in their cache
	rm -rf .venv .venv-demo .venv-bench dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find audit_schema benchmarks migrations tests -name __pycache__ -prune -exec rm -r {} +

.venv/done: requirements/dev.txt pyproject.toml
	$(call install,.venv,dev)

.venv-demo/done: requirements/demo.txt pyproject.toml
	$(call install,.venv-demo,demo)

.venv-bench/done: requirements/bench.txt pyproject.toml
	$(call install,.venv-bench,bench)

# $(1) folder of the environment, $(2) name of the requirements
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
  || { echo "$(PYTHON) can't make virtual environments: install python3-venv (Debian, Ubuntu)" \
       "or name another Python: make PYTHON=python3.12 ..." >&2; exit 1; }
@echo "Installing requirements/$(2).txt into $(1)"
@$(PYTHON) -m venv --clear $(1)
@$(1)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(2).txt
@$(1)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
@touch $@
endef
