"""Every test runs offline, on one thread, and on ensembles that really decode."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # for subprocesses
os.environ["DEEPEN_CACHE"] = "off"
os.environ["LANGSMITH_TRACING"] = "false"

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_socket
import torch
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import answers
from langchain_scripted import ensemble

from deepen_llm import EnsembleLLM

torch.set_num_threads(1)


def pytest_configure(config: Any) -> None:
    for ignored in (
        "langchain_core._api.beta_decorator.LangChainBetaWarning",  # load, and events of version 3
        "langchain_core._api.deprecation.LangChainDeprecationWarning",  # what its own tests use
    ):
        config.addinivalue_line("filterwarnings", f"ignore::{ignored}")


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def live() -> EnsembleLLM:
    """Two members with different vocabularies that say what the script has."""
    return ensemble(answers)


@pytest.fixture
def chat(live: EnsembleLLM) -> ChatDeepen:
    return ChatDeepen(ensemble=live, max_tokens=120)


@pytest.fixture
def llm(live: EnsembleLLM) -> DeepenLLM:
    return DeepenLLM(ensemble=live, max_tokens=120)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every batch that reaches the core."""
    sizes: list[int] = []

    def counted(name: str) -> None:
        own = getattr(EnsembleLLM, name)

        def call(self: EnsembleLLM, items: Any, **options: Any) -> Any:
            sizes.append(len(items))
            return own(self, items, **options)

        monkeypatch.setattr(EnsembleLLM, name, call)

    for name in ("generate", "chat", "agenerate", "achat"):
        counted(name)
    return sizes


@pytest.fixture
def forwards(live: EnsembleLLM) -> Iterator[list[int]]:
    """The sequences of every forward of the main model."""
    seen: list[int] = []
    hook = live.members[0].model.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    yield seen
    hook.remove()
