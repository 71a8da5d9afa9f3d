"""Where to fuse: everywhere, where the main model is unsure, or where every member's tokens have a boundary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

from pydantic import Field, model_serializer, model_validator
from torch import Tensor
from typing_extensions import Self

from deepen_llm.errors import ConfigError
from deepen_llm.options import Options, suggestion

When = Literal["always", "unsure", "boundary"]
"""The gates, by the names that users give them."""

Step = TypeVar("Step")
Extended = Callable[[Sequence[Sequence[Step]]], Sequence[tuple[str, Sequence[bool]]]]

_BELOW = 0.9  # a default


class Gate(Options):
    """Where the members are fused; everywhere else the main model decides alone.

    Published experience is that fusing at every token can ruin long answers, and that places are to be chosen by how
    tokenizers agree and by how sure the models are (SAFE, arXiv 2510.15346). These gates are simpler than theirs.

    Attributes:
        when: ``always``; ``unsure``, where the main model's most likely token has a probability below ``below``, before
            temperature and filters; or ``boundary``, where the tokens of every other member still begin with those of
            the text so far once the main model's most likely token has followed. Where a member would merge the two
            anew, it has seldom been asked to go on from there, and what it says is not to be relied on.
        below: Only with ``unsure``; 0.9 by default.
    """

    when: When = "always"
    below: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("when") == "unsure" and given.get("below") is None:
            return {**given, "below": _BELOW}
        return given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.below is not None and self.when != "unsure":
            raise ValueError(f"below={self.below} is for when='unsure', not for {self.when!r}")
        return self

    @model_serializer(mode="plain")
    def _short(self) -> dict[str, Any]:
        below = {} if self.below is None else {"below": self.below}
        return {"when": self.when, **below}

    def sure(self, main: Tensor) -> list[bool]:
        """Whether the main model is too sure to be asked for company, at each place of its logits ``[P, V_m]``."""
        if self.below is None:
            return [False] * len(main)
        top = (main.amax(-1) - main.logsumexp(-1)).exp()
        sure: list[bool] = (top >= self.below).tolist()
        return sure


def named_gate(given: str | Mapping[str, Any]) -> Gate:
    """The gate of a name, or of a mapping with ``when`` and options.

    Raises:
        ConfigError: There is none of this name, or an option cannot be used.

    >>> named_gate("unsure")
    Gate(when='unsure', below=0.9)
    """
    options = {"when": given} if isinstance(given, str) else dict(given)
    name, known = options.get("when", "always"), get_args(When)
    if name not in known:
        raise ConfigError(
            f"unknown gate {name!r}{suggestion(name, known)}",
            hint=f"known are {', '.join(known)}",
        )
    return Gate(**options)


def reasons_against(
    gate: Gate,
    main: Tensor,
    drafts: Sequence[Sequence[Step]],
    step: Callable[[int], Step],
    extended: Extended[Step],
) -> list[str]:
    """Why the gate is shut at each place; "" where it is open.

    Args:
        gate: The gate.
        main: The main model's logits at all boundaries of all drafts, ``[P, V_m]``.
        drafts: For each row, steps that may come next.
        step: Makes a step of a main-model token.
        extended: See `_merged_by`.
    """
    if gate.when != "boundary":
        return ["it is sure" if sure else "" for sure in gate.sure(main)]
    wanted = iter(main.argmax(-1).tolist())
    following = [[step(token) for token in islice(wanted, len(draft) + 1)] for draft in drafts]
    merging = _merged_by(drafts, following, extended)
    return [f"not at a boundary of {name}" if name else "" for row in merging for name in row]


def _merged_by(
    drafts: Sequence[Sequence[Step]],
    following: Sequence[Sequence[Step]],
    extended: Extended[Step],
) -> list[list[str]]:
    """Who would merge what may follow into the tokens before it: for each row and boundary a member's name, or "".

    Args:
        drafts: For each row, steps that may come next.
        following: For each row, a step that may follow at each boundary of its draft instead.
        extended: For drafts, each member's name, and for each row whether its tokens after the draft begin with those
            before the last step.
    """
    found = [[""] * len(row) for row in following]
    for depth in range(max(map(len, following), default=0)):
        asked = [[*draft[:depth], *row[depth : depth + 1]] for draft, row in zip(drafts, following, strict=True)]
        for name, answers in extended(asked):
            for row, fits in zip(found, answers, strict=True):
                if depth < len(row) and not fits:
                    row[depth] = row[depth] or name
    return found
