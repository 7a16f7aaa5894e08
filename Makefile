# Each target sets up what it needs: a virtual environment in .venv with the versions of
# constraints.txt, made once and made again only when one of the two files below changes.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# cksum and not a hash of more bits: it is in POSIX, and this guards against edits, not attackers.
KEY := $(shell { echo "$(PYTHON) $(CURDIR)"; cat pyproject.toml constraints.txt; } | cksum | tr -d ' ')
READY := $(VENV)/ready-$(KEY)

.PHONY: help demo test check lint types examples bench format clean

help:
	@echo "make demo      compare representations of real picture-text pairs; writes report/index.html"
	@echo "make test      run the tests, doctests included (JOBS=$(JOBS) processes)"
	@echo "make check     all that CI asks: format, lint, types, tests, examples"
	@echo "make bench     time this package against its limits"
	@echo "make format    let ruff format and sort"
	@echo "make clean     remove what these targets made"

demo: $(READY)
	@$(BIN)/triptych compare glyphs --quick --output report
	@echo "The report is $(CURDIR)/report/index.html"

test: $(READY)
	@$(PY) -m pytest -n $(JOBS)

check: lint types test examples

lint: $(READY)
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .

types: $(READY)
	@$(PY) -m mypy

examples: $(READY)
	@for file in examples/*.py; do \
	  [ -e "$$file" ] || continue; echo "$$file"; MPLBACKEND=Agg $(PY) "$$file" || exit 1; done

bench: $(READY)
	@for file in benchmarks/speed/*.py; do \
	  [ -e "$$file" ] || continue; echo "$$file"; $(PY) "$$file" || exit 1; done

format: $(READY)
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

clean:
	rm -rf $(VENV) report runs dist build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and by its exact version, so that no other package's wish for any torch
# chooses the build. Without build isolation, since an isolated build would download its own
# tools beyond the constraints.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "triptych needs Python 3.11 or newer; make PYTHON=python3.12 names another one")'
	@[ "$$($(PY) --version 2>/dev/null)" = "$$($(PYTHON) --version)" ] || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) (once; minutes, most of them for torch)"
	@$(PY) -m pip install -q -c constraints.txt "$$(grep '^torch==' constraints.txt)" hatchling
	@$(PY) -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@rm -f $(VENV)/ready-* && touch $@
