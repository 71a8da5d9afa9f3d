"""Greedy answers of each setting, and their verdicts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepen_llm.demo.long_answers.checker import Verdict, check
from deepen_llm.demo.long_answers.measure import MAX_TOKENS
from deepen_llm.demo.long_answers.questions import Chain
from deepen_llm.demo.long_answers.world import the_world
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_members
from deepen_llm.members.local.member import LocalMember
from research.chains.members import MEMBERS
from research.chains.settings import Setting

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """The answers of a setting.

    Attributes:
        setting: The setting.
        texts: The answers.
        verdicts: The verdict on each answer.
        tokens: The length of each answer in tokens of the main model.
        fused: The number of these tokens from a fused distribution.
        seconds: The duration of all.
    """

    setting: Setting
    texts: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    tokens: tuple[int, ...]
    fused: tuple[int, ...]
    seconds: float


def load(models: Path, names: Iterable[str] = MEMBERS) -> list[LocalMember]:
    """Load the trained members.

    Args:
        models: The folder of the trained members.
        names: The names to load.

    Raises:
        LoadError: A checkpoint is missing or cannot be read.
    """
    return load_members([MemberConfig(path=str(models / name), device="cpu") for name in names])


def answered(
    members: Sequence[LocalMember],
    setting: Setting,
    chains: Sequence[Chain],
    *,
    batch_size: int = 16,
    max_tokens: int = MAX_TOKENS,
) -> Answers:
    """Answer questions with a setting.

    Args:
        members: All members.
        setting: The setting.
        chains: The questions.
        batch_size: The questions decoded together, without effect on answers.
        max_tokens: The most tokens of an answer.
    """
    llm, world = setting.ensemble(members, batch_size), the_world()
    started = time.perf_counter()
    outputs = llm.generate([chain.prompt for chain in chains], max_new_tokens=max_tokens, temperature=0)
    seconds = time.perf_counter() - started
    samples = [output.samples[0] for output in outputs]
    _LOG.info("%s, main %s: %.0f s", setting.label, setting.main, seconds)
    return Answers(
        setting,
        tuple(sample.text for sample in samples),
        tuple(check(chain, sample.text, world) for chain, sample in zip(chains, samples, strict=True)),
        tuple(len(sample.tokens) for sample in samples),
        tuple(sample.fused_tokens for sample in samples),
        seconds,
    )
