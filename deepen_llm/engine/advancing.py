"""Appends a step's tokens to the sequences: tokens chosen from the fused logits, or the next given ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deepen_llm.engine.answer import Answer
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.drafting import Drafter
from deepen_llm.engine.fusing import Fused, to_reread
from deepen_llm.engine.given import GivenSequence, scored
from deepen_llm.engine.sampling import choose_by_group
from deepen_llm.engine.sequence import TokenSequence
from deepen_llm.engine.tokens import Token


class Advance(NamedTuple):
    """The tokens that one step adds to B sequences.

    Attributes:
        tokens: The tokens that each sequence takes.
        reread: Indices of the sequences whose text the main model has to encode again.
    """

    tokens: list[list[Token]]
    reread: list[int]


def advance(
    contexts: Contexts,
    fused: Fused,
    drafts: Sequence[Sequence[Token]],
    sequences: Sequence[TokenSequence],
    drafter: Drafter,
) -> Advance:
    """Choose the next tokens of answers, and score those of given sequences.

    Args:
        contexts: The members' contexts.
        fused: The fused logits at every boundary of the drafts.
        drafts: For each sequence, its draft.
        sequences: The sequences, which take their tokens here.
        drafter: Learns which drafted tokens were chosen.
    """
    answers = {index: sequence for index, sequence in enumerate(sequences) if isinstance(sequence, Answer)}
    given = {index: sequence for index, sequence in enumerate(sequences) if isinstance(sequence, GivenSequence)}
    tokens: list[list[Token]] = [[] for _ in sequences]
    _score(contexts, fused, drafts, given, tokens)
    return Advance(tokens, _choose(contexts, fused, drafts, answers, tokens, drafter))


def _score(
    contexts: Contexts,
    fused: Fused,
    drafts: Sequence[Sequence[Token]],
    given: dict[int, GivenSequence],
    tokens: list[list[Token]],
) -> None:
    """Score the next tokens of given sequences, all together, and write them into ``tokens``."""
    if not given:
        return
    for index, sequence in given.items():
        tokens[index] = sequence.next_tokens(len(drafts[index]) + 1)
    positions = [fused.position_of(index, depth) for index in given for depth in range(len(tokens[index]))]
    logits, _ = fused.logits_at(positions)
    ids = [token.id for index in given for token in tokens[index]]
    scores = iter(scored(contexts.ensemble.vocabulary, logits, ids))
    for index, sequence in given.items():
        sequence.score_next([next(scores) for _ in tokens[index]])


def _choose(
    contexts: Contexts,
    fused: Fused,
    drafts: Sequence[Sequence[Token]],
    answers: dict[int, Answer],
    tokens: list[list[Token]],
    drafter: Drafter,
) -> list[int]:
    """Choose the next token of every answer, and further ones while the chosen token is the drafted one.

    Writes the tokens into ``tokens``; returns the indices of the sequences to encode again.
    """
    following, depth, reread = list(answers), 0, set[int]()
    while following:
        positions, here = [fused.position_of(i, depth) for i in following], [answers[i] for i in following]
        chosen = choose_by_group(
            [answer.sampling for answer in here],
            constrained(*fused.logits_at(positions), here, own=contexts.ensemble.fusion.has_own_vocabulary),
            [answer.ids for answer in here],
            [answer.generator for answer in here],
        )
        for i, answer, candidate, position in zip(following, here, chosen, positions, strict=True):
            id_ = answer.constrain(candidate, fused.tokens_left(i, depth))
            tokens[i].append(Token(id_, answer.commit(id_, fused.report, position)))
            drafter.learn(i, depth, id_)
        depth += 1
        moved = to_reread(contexts, fused, positions, following, [tokens[i][-1].id for i in following])
        reread.update(i for i in moved if not answers[i].finished)
        following = [i for i in following if i not in reread and _continues(answers[i], tokens[i], drafts[i])]
    return sorted(reread)


def _continues(answer: Answer, taken: Sequence[Token], draft: Sequence[Token]) -> bool:
    """Whether an answer's last token is the drafted one, so that the next one can be chosen, too."""
    return not answer.finished and len(taken) <= len(draft) and taken[-1].id == draft[len(taken) - 1].id


def constrained(fused: Tensor, main_logits: Tensor, answers: Sequence[Answer], *, own: bool = False) -> Tensor:
    """The fused logits, ``-inf`` where an answer's structure allows no token, ``[B, V_m]``.

    Where the fused probability of all allowed tokens is 0, as small ones become in fp32, the main model's logits of
    these tokens are taken; in a vocabulary of the fusion method's own, all of them are equally likely then.

    Args:
        fused: Fused logits, ``[B, V_m]``.
        main_logits: The main model's logits, ``[B, V_m]``.
        answers: The answers.
        own: Whether the fused logits are over a vocabulary of the fusion method's own.
    """
    masks = [answer.allowed() for answer in answers]
    if all(mask is None for mask in masks):
        return fused
    free = torch.ones(fused.shape[-1], dtype=torch.bool)
    barred = ~torch.stack([free if mask is None else mask for mask in masks]).to(fused.device)
    logits = fused.masked_fill(barred, -torch.inf)
    impossible = logits.isneginf().all(-1, keepdim=True)  # [B, 1]
    instead = torch.zeros_like(fused) if own else main_logits
    return torch.where(impossible, instead.masked_fill(barred, -torch.inf), logits)
