# Two commands do everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAST := tests/architecture tests/core tests/functional tests/metrics tests/encoders tests/objectives
# A file stays in one process, with its fixtures. Files are begun in the order in which they are
# collected, not those of many tests first: docstrings and pages come last and are short, so that
# no core is left with a long file at the end.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast check lint pythons constraints format docs docs-check docs-serve wheel bench clean

demo: $(VENV)/ready
	$(BIN)/quickstudy demo

test: $(VENV)/ready
	$(BIN)/python -m pytest $(PARALLEL)

# What one runs while working: the parts that everything else builds on.
test-fast: $(VENV)/ready
	$(BIN)/python -m pytest $(PARALLEL) $(FAST)

check: lint pythons

# Import, --help and a short suite on every Python that is there, with the lowest and the newest
# dependencies.
pythons: $(VENV)/ready
	$(BIN)/python .ci/pythons.py

# Pins the whole development environment anew, for every Python from 3.11 on.
constraints: $(VENV)/ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --no-annotate \
	    --constraints .ci/held_back.txt --extra dev --extra docs pyproject.toml --output-file constraints.txt

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/table.py --check

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site: pages, API and glossary; a warning is an error. The small tensors of its examples gain
# nothing from threads, which wait for one another where other programs run.
docs: $(VENV)/ready
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --jobs auto docs docs/_build/html
	@echo "The site is docs/_build/html/index.html; make docs-serve shows it."

# Looks at the built site in a headless Chromium: searches, widths and pictures.
docs-check: $(VENV)/ready
	$(BIN)/python .ci/site.py

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory docs/_build/html 8000

# Builds wheel and sdist into dist, checks them, and uses the wheel from an empty folder.
wheel: $(VENV)/ready
	$(BIN)/python .ci/wheel.py --out dist

bench: $(VENV)/ready
	$(BIN)/quickstudy bench speed --json benchmarks/speed.json --plot docs/images/speed.png
	$(BIN)/quickstudy bench growth --json benchmarks/growth.json --plot docs/images/growth.png
	$(BIN)/quickstudy bench learners --n-tasks 1 --rounds 5 --json benchmarks/learners.json
	$(BIN)/python benchmarks/table.py

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "quickstudy needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps Resemblyzer==0.1.4
	touch $@

clean:
	rm -rf $(VENV) .venv-* build dist docs/_build docs/examples docs/api/*.rst docs/api/generated
