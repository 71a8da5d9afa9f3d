"""Batches of documents as token ids, with the weight of each token in the loss."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from research.specialists.documents import Document
from research.specialists.profiles import CONTEXT

Weighted = tuple[list[int], list[float]]  # a document's token ids, and the weight of each in the loss


@dataclass(frozen=True)
class Schedule:
    """The schedule of a training.

    Args:
        steps: Optimizer steps of the first round.
        more: Optimizer steps of the second round; None for the profile's number.
        batch: Tokens in a step, padding included.
        rate: The highest learning rate; it rises over the first steps and falls to zero along a cosine.
        question_weight: The weight of a token outside an answer; inside it is 1.
        questions: The number of tokens outside answers with a weight in one document; they are drawn.
        documents: The number of documents of the tokenizer's training.
        seed: Equal seeds give equal weights on the same machine.
    """

    steps: int = 1800
    more: int | None = None
    batch: int = 4000
    rate: float = 3e-3
    question_weight: float = 0.1
    questions: int = 20
    documents: int = 6000
    seed: int = 7


def batches(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, schedule: Schedule
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of documents of similar length, in random order."""
    order = random.Random(schedule.seed)  # noqa: S311
    while True:
        rows = [_row(document, tokenizer, schedule) for document in itertools.islice(documents, 1024)]
        rows.sort(key=lambda row: len(row[0]))
        made: list[list[Weighted]] = [[]]
        for row in rows:
            if made[-1] and (len(made[-1]) + 1) * len(row[0]) > schedule.batch:
                made.append([])
            made[-1].append(row)
        order.shuffle(made)
        yield from (_padded(batch, tokenizer) for batch in made)


def encode(documents: list[Document], tokenizer: PreTrainedTokenizerFast, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Encode documents as token ids, padded on the right, with the weight of each token in the loss.

    Args:
        documents: The documents.
        tokenizer: The tokenizer.
        schedule: The schedule, with the weight of tokens outside answers.

    Returns:
        Ids and weights, ``[documents, longest]``; the weight of padding is 0.
    """
    return _padded([_row(document, tokenizer, schedule) for document in documents], tokenizer)


def _row(document: Document, tokenizer: PreTrainedTokenizerFast, schedule: Schedule) -> Weighted:
    ids, spans = _encoded(document, tokenizer)
    outside = [not any(start < b and a < end for a, b in document.answers) for start, end in spans]
    places = [place for place, out in enumerate(outside) if out]
    drawn = random.Random(document.text)  # noqa: S311
    counted = set(drawn.sample(places, min(len(places), schedule.questions)))
    weights = [(place in counted) * schedule.question_weight if out else 1.0 for place, out in enumerate(outside)]
    if not document.chat:
        ids.append(int(tokenizer.eos_token_id))
        weights.append(1.0)
    return ids[:CONTEXT], weights[:CONTEXT]


def _padded(rows: list[Weighted], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    longest = max(len(ids) for ids, _ in rows)
    padding = int(tokenizer.pad_token_id)
    return (
        torch.tensor([ids + [padding] * (longest - len(ids)) for ids, _ in rows]),
        torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in rows]),
    )


def _encoded(document: Document, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[tuple[int, int]]]:
    """A document's token ids and their spans; the text after a cut is encoded as in the middle of a text."""
    whole, cut = tokenizer.backend_tokenizer, document.cut
    if not cut:
        encoding = whole.encode(document.text, add_special_tokens=not document.chat)
        return list(encoding.ids), list(encoding.offsets)
    head = whole.encode(document.text[:cut], add_special_tokens=not document.chat)
    skip = len(whole.encode(":", add_special_tokens=False).ids)
    tail = whole.encode(":" + document.text[cut:], add_special_tokens=False)
    shifted = [(start + cut - 1, end + cut - 1) for start, end in tail.offsets[skip:]]
    return [*head.ids, *tail.ids[skip:]], [*head.offsets, *shifted]
