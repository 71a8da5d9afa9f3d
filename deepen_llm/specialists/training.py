"""Training one specialist: a seeded loop on one thread."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from deepen_llm.specialists.corpus import Corpus, Document, vocabulary_texts
from deepen_llm.specialists.profiles import CONTEXT, Profile

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Args:
        steps: Optimiser steps.
        batch: Documents in a step.
        rate: The highest learning rate; it rises over the first steps and falls to zero along a cosine.
        question_weight: What a token outside an answer counts, where one inside counts 1.
        documents: How many documents the tokenizer is trained on.
        seed: Equal seeds give equal weights on the same machine.
    """

    steps: int = 900
    batch: int = 64
    rate: float = 3e-3
    question_weight: float = 0.1
    documents: int = 6000
    seed: int = 7


def train(profile: Profile, schedule: Schedule) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Train a specialist from nothing.

    Args:
        profile: Which one.
        schedule: How long and how fast.

    Returns:
        The model, in float32 and evaluation mode, and its tokenizer.
    """
    tokenizer = profile.tokenizer(vocabulary_texts(profile, schedule.seed, schedule.documents))
    torch.manual_seed(schedule.seed)
    model = AutoModelForCausalLM.from_config(profile.architecture(tokenizer), dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = max(1, schedule.steps // 20)
    rate = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, 0.05, total_iters=warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, schedule.steps - warmup)),
        ],
        milestones=[warmup],
    )
    batches = _batches(Corpus(profile, schedule.seed).documents(tokenizer), schedule)
    model.train()
    for step, documents in enumerate(itertools.islice(batches, schedule.steps)):
        ids, weights = encode(documents, tokenizer, schedule)
        loss = weighted_loss(model(input_ids=ids).logits, ids, weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        if step % 100 == 0:
            _LOG.info("%s step %d of %d: loss %.3f", profile.name, step, schedule.steps, loss.item())
    return model.eval(), tokenizer


def _batches(documents: Iterator[Document], schedule: Schedule) -> Iterator[list[Document]]:
    """Batches of documents that are about as long as each other, in random order."""
    order = random.Random(schedule.seed)  # noqa: S311
    while True:
        pool = sorted(itertools.islice(documents, schedule.batch * 16), key=lambda document: len(document.text))
        batches = [pool[start : start + schedule.batch] for start in range(0, len(pool), schedule.batch)]
        order.shuffle(batches)
        yield from batches


def encode(documents: list[Document], tokenizer: PreTrainedTokenizerFast, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Documents as token ids, padded on the right, and what each token counts in the loss.

    Args:
        documents: What to encode.
        tokenizer: Whose ids.
        schedule: For the weight of tokens outside answers.

    Returns:
        Ids and weights, ``[documents, longest]``; padding counts nothing.
    """
    rows: list[tuple[list[int], list[float]]] = []
    for document in documents:
        encoding = tokenizer.backend_tokenizer.encode(document.text, add_special_tokens=not document.chat)
        ids = list(encoding.ids)
        weights = [
            1.0 if any(start < b and a < end for a, b in document.answers) else schedule.question_weight
            for start, end in encoding.offsets
        ]
        if not document.chat:
            ids.append(int(tokenizer.eos_token_id))
            weights.append(1.0)
        rows.append((ids[:CONTEXT], weights[:CONTEXT]))
    longest = max(len(ids) for ids, _ in rows)
    padding = int(tokenizer.pad_token_id)
    return (
        torch.tensor([ids + [padding] * (longest - len(ids)) for ids, _ in rows]),
        torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in rows]),
    )


def weighted_loss(logits: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """The mean cross-entropy of each token given those before it, by weight.

    Args:
        logits: ``[B, T, V]``.
        ids: ``[B, T]``.
        weights: ``[B, T]``.

    Returns:
        A scalar.
    """
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()


def save(profile: Profile, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a checkpoint in half precision.

    Args:
        profile: Whose.
        model: Its weights; they are converted in place.
        tokenizer: Its tokenizer.
        folder: Where to; made if missing.
    """
    ends = [int(tokenizer.convert_tokens_to_ids(token)) for token in profile.chat_ends]
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors lets only its maker read
