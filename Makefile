# make demo | make test | make quick | make slow
PYTHON ?= python3
BIN := .venv/bin
DEMO := .demo

.PHONY: demo test check quick slow clean

# The stamp, not the folder: a killed install is done again. An upgrade of pip is not needed.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# The base install only: no compiler, no JAX, no ffmpeg of the system's.
demo: .venv/installed
	@mkdir -p $(DEMO)
	$(BIN)/python scripts/demo_clip.py $(DEMO)/in.mkv
	$(BIN)/assay tune $(DEMO)/in.mkv -e libx264 --target-vmaf 93 --quality-confidence 0.95 \
	  --trials 1 -o $(DEMO)/out.mkv --verify --force --report $(DEMO)/page.html
	@echo "Open $(abspath $(DEMO)/page.html) in a browser: the forecast, the choice, and the worst seconds side by side."

test check: .venv/installed-dev
	scripts/check $(BIN)

# Format, lint, types, words and the tests of pure code: under a minute once installed, and no ffmpeg.
quick: .venv/installed-dev
	scripts/check $(BIN) quick

.venv/installed-slow: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,dev-mlflow,notebook]'
	touch $@

slow: .venv/installed-slow
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf .venv $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis
