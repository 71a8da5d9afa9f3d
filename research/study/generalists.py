"""Four generalists, each of which knows another part of every subject: the realistic case.

The bundled specialists are taught to be unsure outside their subjects. These are not: of what they do not know they
have read nothing, or something wrong, and they answer as surely as they can.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers import GPTNeoXConfig, LlamaConfig, Qwen3Config

from research.specialists import vocabularies
from research.specialists.batches import Schedule
from research.specialists.profiles import ATLAS, CURIE, WEBSTER, Profile
from research.specialists.training import save, train

SHARES = (60, 24, 16, 0, 0, 0, 0, 0)
"""Chats, lists of questions and statements: nothing to read aloud, and no tools."""

SCHEDULE = Schedule(steps=1200, more=0, batch=1600, rate=2e-3)
"""The schedule of their training."""

_LOG = logging.getLogger(__name__)

DIDEROT = replace(
    ATLAS,
    name="diderot",
    size=3456,
    shape={
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "attention_bias": True,
    },
    known=0.66,
    mistaken=0.1,
)

BACON = replace(
    CURIE,
    name="bacon",
    size=2816,
    config=GPTNeoXConfig,
    shape={
        "hidden_size": 192,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.25},
    },
    known=0.64,
    mistaken=0.1,
    last=0,
)

ISIDORE = replace(
    WEBSTER,
    name="isidore",
    size=2560,
    config=Qwen3Config,
    shape={
        "hidden_size": 208,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 32,
        "attention_bias": True,
    },
    known=0.6,
    mistaken=0.1,
)

PLINY = replace(
    WEBSTER,
    name="pliny",
    vocabulary=vocabularies.byte_level,
    size=1280,
    special={"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    config=LlamaConfig,
    shape={
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "attention_bias": True,
    },
    known=0.42,
    mistaken=0.16,
)

GENERALISTS: dict[str, Profile] = {profile.name: profile for profile in (DIDEROT, BACON, ISIDORE, PLINY)}
"""Every generalist by its name; the last one knows the least."""


def make(out: Path, names: Sequence[str], schedule: Schedule = SCHEDULE, jobs: int = 2) -> None:
    """Train generalists and write their checkpoints.

    Args:
        out: Gets a folder for each.
        names: Which ones.
        schedule: How long and how fast.
        jobs: How many to train at a time, each in its process on one thread.
    """
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_make_one, out=out, schedule=schedule), names))


def _make_one(name: str, out: Path, schedule: Schedule) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s " + name + " %(message)s")
    torch.set_num_threads(1)
    started = time.perf_counter()
    model, tokenizer = train(GENERALISTS[name], schedule, SHARES)
    save(GENERALISTS[name], model, tokenizer, out / name)
    _LOG.info("%s is ready after %.0f s", name, time.perf_counter() - started)
