# On a fresh clone, `make demo` and `make test` install what they need, from the locked versions in requirements/; `make
# lock` resolves them anew.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# On Linux, the default build of torch installs CUDA, too; `make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu`
# installs the smaller build for CPUs.
export TORCH_INDEX ?=
PROJECTS := pyproject.toml $(wildcard integrations/*/pyproject.toml)

.PHONY: bench compat demo docs test gpu lint lock format cookbooks specialists study chains given clean
demo: $(VENV)/.run
	HF_HUB_OFFLINE=1 $(BIN)/deepen demo

test: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# `make gpu OUT=folder` installs nothing: it runs on a machine with a GPU whose own Python has torch and transformers.
gpu: export PYTHONPATH := .
gpu: export HF_HUB_OFFLINE := 1
gpu:
	@test -n "$(OUT)" || { echo "make gpu OUT=folder: where the benchmark's results go" >&2; exit 2; }
	$(PYTHON) -m pytest -c tests/gpu/pytest.ini tests/gpu
	$(PYTHON) -m benchmarks --gpu --out $(OUT)

# The oldest versions that the ranges in pyproject.toml allow, and the newest that the registry has.
compat: $(VENV)/.dev
	$(BIN)/python requirements/compat.py oldest newest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Builds build/docs. A broken link, an unknown anchor, or a public name without a docstring or a page is an error.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.dev
	$(BIN)/python -m mkdocs build --strict

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks --out build/bench

cookbooks: $(VENV)/.dev
	$(BIN)/python cookbooks/execute.py

specialists: $(VENV)/.run
	$(BIN)/python -m research.specialists.recipe --out build/specialists

# Trains seven models and measures the tables of docs/study.md: two to three hours on two cores.
study: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m research.study train --out build/study
	HF_HUB_OFFLINE=1 $(BIN)/python -m research.chains train --out build/study/chains
	HF_HUB_OFFLINE=1 $(BIN)/python -m research.study measure --models build/study --out docs

# Trains three models and measures long answers that are decoded freely: about half an hour on one core.
chains: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m research.chains train --out build/chains
	HF_HUB_OFFLINE=1 $(BIN)/python -m research.chains measure --models build/chains --out build/chains/development.jsonl

# Trains four models and measures the likelihood of existing texts under ensembles: an hour on one core. TEXTS=folder, with
# a file or a folder for each field (research/given/texts.py); without it, texts that are part of Python.
given: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m research.given train --out build/given $(if $(TEXTS),--texts $(TEXTS))
	HF_HUB_OFFLINE=1 $(BIN)/python -m research.given measure --models build/given --out build/given/development.jsonl $(if $(TEXTS),--texts $(TEXTS))

lock: $(VENV)/.dev
	$(BIN)/python requirements/lock.py

clean:
	rm -rf $(VENV) build dist

$(VENV)/.%: requirements/%.txt $(wildcard requirements/torch*.txt) requirements/cuda.txt requirements/install.py $(PROJECTS)
	@$(PYTHON) requirements/install.py $(VENV) $*
	@touch $@
