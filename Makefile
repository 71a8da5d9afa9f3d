# Two commands set everything up on a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# torch goes in first, so that nothing else lets another version in. On Linux the registry's own build brings CUDA along;
# `make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu` takes the small one.
TORCH_INDEX ?=
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: bench demo test gpu lint format cookbooks specialists study clean
demo: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/deepen demo

test: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses auto

# On a machine with a GPU whose own Python has torch and transformers: no installation, `make gpu OUT=folder`.
gpu: export PYTHONPATH := .
gpu: export HF_HUB_OFFLINE := 1
gpu:
	@test -n "$(OUT)" || { echo "make gpu OUT=folder: where the benchmark's results go" >&2; exit 2; }
	$(PYTHON) -m pytest -c tests/gpu/pytest.ini tests/gpu
	$(PYTHON) -m deepen_llm.cli bench --gpu --out $(OUT)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.plot
	HF_HUB_OFFLINE=1 $(BIN)/deepen bench --out build/bench

cookbooks: $(VENV)/.dev
	$(BIN)/python cookbooks/execute.py

specialists: $(VENV)/.installed
	$(BIN)/python -m deepen_llm.specialists.recipe --out build/specialists

# Trains four models and measures the tables of docs/study.md: one to two hours on two cores.
study: $(VENV)/.plot
	HF_HUB_OFFLINE=1 $(BIN)/python -m deepen_llm.study train --out build/study
	HF_HUB_OFFLINE=1 $(BIN)/python -m deepen_llm.study measure --models build/study --out docs

clean:
	rm -rf $(VENV) build dist

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) --editable .
	touch $@

$(VENV)/.plot: $(VENV)/.installed
	$(PIP) --editable '.[plot]'
	touch $@

$(VENV)/.dev: $(VENV)/.installed $(wildcard integrations/*/pyproject.toml)
	$(PIP) --group dev --editable integrations/langchain-deepen --editable integrations/llama-index-llms-deepen
	touch $@
