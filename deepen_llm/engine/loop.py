"""The token loop: members read, fusion decides, members hear."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from deepen_llm.engine.contexts import Contexts, Fused
from deepen_llm.engine.drafting import Drafter
from deepen_llm.engine.ensemble import Ensemble, Step
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.sampling import Sampler
from deepen_llm.engine.scheduler import Admission
from deepen_llm.engine.sequence import Request, Row


def decode(
    ensemble: Ensemble, requests: Sequence[Request], options: GenerationOptions, batch_size: int
) -> Generator[None, None, None]:
    """Decode all requests' rows, as many together as there is room for, until each has ended.

    Yields after every step, and stops where it is closed.

    Args:
        ensemble: The ensemble.
        requests: Prompts, each with the ``options.n`` rows that answer it; their text grows here.
        options: How to generate.
        batch_size: The most rows at a time.
    """
    sampler, waiting = Sampler(options), Admission(ensemble, requests, options, batch_size)
    drafter = Drafter(ensemble, sampler)
    contexts, live = Contexts(ensemble, [], healing=options.token_healing), list[Row]()
    try:
        while live or waiting:
            if arrived := waiting.admit(live):
                contexts.join([request.prompt for request in arrived], options.n)
                live += [row for request in arrived for row in request.rows]
            drafts = drafter.propose(contexts, live)
            following = list(zip(live, drafts, strict=True))
            unfinished = [row.unfinished(draft) for row, draft in following]
            answered = [row.answered(draft) for row, draft in following]
            fused = contexts.fuse(drafts, unfinished, answered=answered)
            taken, moved = _settle(contexts, fused, drafts, live, sampler, drafter)
            contexts.commit(taken)
            contexts.reread(moved)
            for row, room in zip(live, contexts.rooms(), strict=True):
                row.bound(min(room) < 1)
            yield
            going_on = [place for place, row in enumerate(live) if row.finish_reason is None]
            if len(going_on) < len(live):
                contexts.select(going_on)
                live = [live[place] for place in going_on]
    finally:
        contexts.close()


def _settle(
    contexts: Contexts,
    fused: Fused,
    drafts: Sequence[Sequence[Step]],
    rows: Sequence[Row],
    sampler: Sampler,
    drafter: Drafter,
) -> tuple[list[list[Step]], list[int]]:
    """Choose the next token of every row, and go on for as long as it is the drafted one.

    Returns:
        The steps taken, per row, and the rows of which the main model is to read its own encoding.
    """
    contexts.check(fused)
    taken: list[list[Step]] = [[] for _ in rows]
    following, depth, moved = list(range(len(rows))), 0, set[int]()
    while following:
        places, here = [fused.place(row, depth) for row in following], [rows[row] for row in following]
        ids = [one.written for one in here]
        chosen = sampler.choose(_guided(*fused.at(places), here), ids, [row.generator for row in here])
        for row, token, place in zip(following, chosen, places, strict=True):
            token = rows[row].settle(token, fused.room(row, depth))
            taken[row].append(Step(token, rows[row].commit(token, fused.report, place)))
            drafter.learn(row, depth, token)
        depth += 1
        others = contexts.moved(fused, places, following, [taken[row][-1].token for row in following])
        moved.update(row for row in others if rows[row].finish_reason is None)
        following = [row for row in following if row not in moved and _follows(taken[row], drafts[row], rows[row])]
    return taken, sorted(moved)


def _follows(taken: Sequence[Step], draft: Sequence[Step], row: Row) -> bool:
    return row.finish_reason is None and len(taken) <= len(draft) and taken[-1].token == draft[len(taken) - 1].token


def _guided(fused: Tensor, main: Tensor, rows: Sequence[Row]) -> Tensor:
    """The fused logits, ``-inf`` where a row's structure allows no token.

    Where fusion holds none of the allowed tokens possible (small probabilities become 0 in fp32), the main model's
    logits choose among them.
    """
    masks = [row.allowed() for row in rows]
    if all(mask is None for mask in masks):
        return fused
    free = torch.ones(fused.shape[-1], dtype=torch.bool)
    barred = ~torch.stack([free if mask is None else mask for mask in masks]).to(fused.device)
    guided = fused.masked_fill(barred, -torch.inf)
    lost = guided.isneginf().all(-1, keepdim=True)  # [B, 1]
    return torch.where(lost, main.masked_fill(barred, -torch.inf), guided)
