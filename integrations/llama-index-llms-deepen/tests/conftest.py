"""Every test runs offline, on one thread, and leaves LlamaIndex's settings as they were."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # for subprocesses
os.environ["DEEPEN_CACHE"] = "off"

import asyncio
import inspect
import socket
import sys
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import llama_index.core
import pytest
import torch
from llama_index.core import Settings

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))  # for deepen_li_members, whatever pytest's import mode


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **_: Any) -> None:
        raise RuntimeError(f"a test reached for the network: {given[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    kept, tokenizer = copy(Settings.__dict__), llama_index.core.global_tokenizer
    yield
    Settings.__dict__.update(kept)
    llama_index.core.global_tokenizer = tokenizer


@pytest.fixture(autouse=True)
def _closed_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """LlamaIndex's synchronous calls run coroutines on the thread's loop, and leave one open where there was none."""
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)
