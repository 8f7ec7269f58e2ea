# make demo   install, then distil a small int8 student for a Jetson Nano on embedded photographs and print the report
# make test   install, then run the tests
# make check  install, then format, lint, types, import layers, spelling and tests

PYTHON ?= python3
BIN := .venv/bin
# One process for each of two cores, and one thread each: torch's threads of two processes get in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
READY := .venv/.ready
# Where spelling is checked: documents, docstrings and comments; the words that stay are in pyproject.toml.
PROSE := README.md CHANGELOG.md CONTRIBUTING.md Makefile hwkd profiles targets tests/cross

.PHONY: demo test check slow clean

demo: $(READY)
	$(BIN)/hwkd distill --target jetson-nano --bits 8 --force -o runs/demo

test: $(READY)
	$(PYTEST)

check: $(READY)
	$(BIN)/ruff format --check hwkd tests
	$(BIN)/ruff check hwkd tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell $(PROSE)
	$(PYTEST)

slow: $(READY)
	$(BIN)/python -m pytest -m slow

# torch first: its CPU build must be there before anything asks for "torch" in general.
$(READY): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c .ci/constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet -c .ci/constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv runs/demo
