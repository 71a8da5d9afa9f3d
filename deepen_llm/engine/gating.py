"""The boundaries that the gate closes: there the main model's distribution is taken, and nothing is fused.

Each function gives a reason for each boundary, in words for traces; "" where the boundary is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from torch import Tensor

from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.lookahead import LookAhead, look_ahead
from deepen_llm.engine.text import TextAssembler
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.fusion.gate import Gate


def closed_before_reading(ensemble: Ensemble, boundaries: Sequence[Boundary]) -> list[str]:
    """Why boundaries are closed whatever the members predict, ``[P]``.

    Inside a character only the main model has read the last bytes, unless the fusion method reads the other members at
    earlier boundaries. A fusion method with a vocabulary of its own is asked everywhere.
    """
    if ensemble.fusion.has_own_vocabulary:
        return [""] * len(boundaries)
    return [
        "inside a character"
        if boundary.unfinished and not ensemble.fusion.back
        else "at a special token" * boundary.special
        for boundary in boundaries
    ]


def closed_by_main_model(
    contexts: Contexts, main_logits: Tensor, drafts: Sequence[Sequence[Token]], boundaries: Sequence[Boundary]
) -> tuple[list[str], LookAhead | None]:
    """Why the gate closes boundaries once the main model is read, ``[P]``, and what would follow them.

    Args:
        contexts: The members' contexts.
        main_logits: The main model's logits, ``[P, V_m]``.
        drafts: For each sequence, tokens that may come next.
        boundaries: The boundaries of all drafts.

    Returns:
        The reasons, and what members read next if the main model's likeliest token follows; None for gates that do not
        need it.
    """
    gate = contexts.ensemble.gate
    if gate.when == "unsure":
        return ["it is sure" * confident for confident in is_confident(gate, main_logits)], None
    ahead = _following(contexts, main_logits.argmax(-1).tolist(), drafts, boundaries)
    return _off_boundary(contexts.ensemble, ahead), ahead


def is_confident(gate: Gate, main_logits: Tensor) -> list[bool]:
    """Whether the main model's top probability is at least ``below`` of the gate, at each boundary.

    Args:
        gate: The gate; without ``below`` no distribution is confident.
        main_logits: The main model's logits, ``[P, V_m]``.
    """
    if gate.below is None:
        return [False] * len(main_logits)
    top = (main_logits.amax(-1) - main_logits.logsumexp(-1)).exp()
    confident: list[bool] = (top >= gate.below).tolist()
    return confident


def _off_boundary(ensemble: Ensemble, ahead: LookAhead) -> list[str]:
    """Why boundaries are closed that a member's tokenizer would merge away, ``[P]``."""
    if ensemble.gate.straddle and ensemble.fusion.back:
        return [""] * len(ahead.tokens)
    merging = [ahead.merging(position) for position in range(len(ahead.tokens))]
    return ["" if i is None else f"not at a boundary of {ensemble.members[i].name}" for i in merging]


def _following(
    contexts: Contexts, likeliest: Sequence[int], drafts: Sequence[Sequence[Token]], boundaries: Sequence[Boundary]
) -> LookAhead:
    """What the members would read next if the main model's likeliest tokens followed, one at each boundary.

    Inside a character there is no boundary of a member that reads text.
    """
    tokens = iter(_as_tokens(contexts.ensemble, likeliest))
    following = [list(islice(tokens, len(draft) + 1)) for draft in drafts]
    ahead = look_ahead(likeliest, drafts, following, contexts.added)
    for i, added in ahead.added.items():
        if not contexts.takes_tokens(i):
            added[:] = [None if boundary.unfinished else ids for boundary, ids in zip(boundaries, added, strict=True)]
    return ahead


def _as_tokens(ensemble: Ensemble, ids: Sequence[int]) -> Iterator[Token]:
    surfaces = ensemble.main_model.vocabulary.surfaces
    return (Token(id_, TextAssembler().feed(surfaces[id_] or b"")) for id_ in ids)
