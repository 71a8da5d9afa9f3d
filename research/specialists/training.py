"""Training of one specialist: a seeded loop on one thread."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from research.specialists.batches import Schedule, batches
from research.specialists.beginning import begin
from research.specialists.corpus import FIRST_SHARES, SECOND_SHARES, THIRD_SHARES, Corpus, vocabulary_texts
from research.specialists.profiles import Profile

_LOG = logging.getLogger(__name__)


def train(
    profile: Profile, schedule: Schedule, shares: Sequence[int] = FIRST_SHARES
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Train a specialist from initial weights, in rounds; the second one has more contexts, the third one more facts.

    A round begins with the weights in half precision, so that it can be repeated from a checkpoint.

    Args:
        profile: The specialist.
        schedule: The schedule of the training.
        shares: The share of documents of each kind in the first round.

    Returns:
        The model, in float32 and evaluation mode, and its tokenizer.
    """
    tokenizer = profile.tokenizer(vocabulary_texts(profile, schedule.seed, schedule.documents))
    model = untrained(profile.architecture(tokenizer), schedule.seed)
    more = profile.more if schedule.more is None else schedule.more
    last = profile.last if schedule.more is None else min(profile.last, schedule.more)
    rounds = (
        (shares, schedule.rate, schedule.steps),
        (SECOND_SHARES, schedule.rate, more),
        (THIRD_SHARES, 0.002, last),
    )
    for kinds, rate, steps in rounds:
        documents = Corpus(profile, schedule.seed).documents(tokenizer, kinds)
        if steps:
            read(model, batches(documents, tokenizer, schedule), rate, steps)
        with torch.no_grad():
            for weights in model.parameters():
                weights.copy_(weights.half())
    return model.eval(), tokenizer


def untrained(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """Make a model in float32 with the initial weights.

    Args:
        config: Its configuration.
        seed: Equal seeds give equal weights.
    """
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    begin(model)
    return model


def read(model: PreTrainedModel, stream: Iterator[tuple[Tensor, Tensor]], highest: float, steps: int) -> None:
    """Train with a linear warm-up and a cosine decay of the learning rate to zero.

    Args:
        model: The model, changed in place.
        stream: Batches of token ids and their weights, ``[B, T]`` both.
        highest: The highest learning rate.
        steps: The number of batches.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = max(1, steps // 20)
    rate = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warmup)),
        ],
        milestones=[warmup],
    )
    model.train()
    for step, (ids, weights) in enumerate(itertools.islice(stream, steps)):
        loss = _loss(model, ids, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 100 == 0:
            _LOG.info("%s step %d of %d: loss %.3f", model.config.model_type, step, steps, loss.item())


def _loss(model: PreTrainedModel, ids: Tensor, weights: Tensor) -> Tensor:
    """Compute `weighted_loss` of a model, with logits only where the next token has a weight."""
    hidden = model.base_model(input_ids=ids[:, :-1]).last_hidden_state
    counted = weights[:, 1:] > 0
    return weighted_loss(model.get_output_embeddings()(hidden[counted]), ids[:, 1:][counted], weights[:, 1:][counted])


def weighted_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Compute the weighted mean of the cross-entropy.

    Args:
        logits: Logits, ``[N, V]``.
        targets: The next tokens, ``[N]``.
        weights: Their weights, ``[N]``.

    Returns:
        A scalar.
    """
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return (losses * weights).sum() / weights.sum()


def save(profile: Profile, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a checkpoint in half precision.

    Args:
        profile: The specialist.
        model: The model; its weights are converted in place.
        tokenizer: Its tokenizer.
        folder: The folder; created if missing.
    """
    write(model, tokenizer, profile.chat_ends, folder)


def write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, end_tokens: Sequence[str], folder: Path) -> None:
    """Write a checkpoint in half precision.

    Args:
        model: The model; its weights are converted in place.
        tokenizer: Its tokenizer.
        end_tokens: The special tokens that end an answer.
        folder: The folder; created if missing.
    """
    ends = [int(tokenizer.convert_tokens_to_ids(token)) for token in end_tokens]
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
        file.chmod(0o644)  # safetensors writes files that only their owner can read
