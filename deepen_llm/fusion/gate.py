"""Where to fuse: everywhere, where the main model is unsure, at boundaries, or at those where members disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, model_serializer, model_validator
from typing_extensions import Self

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.options import Options

When = Literal["always", "unsure", "boundary", "safe"]
"""The gates, by the names that users give them."""

_DEFAULTS: dict[Any, dict[str, Any]] = {  # of the options that one gate alone has
    "unsure": {"below": 0.9},
    "safe": {"straddle": True, "sharpen": True},
}


class Gate(Options):
    """Where the members are fused; everywhere else the main model decides alone.

    Published experience is that fusing at every token can ruin long answers, and that places are to be chosen by how
    tokenizers agree and by how sure the models are (SAFE, arXiv 2510.15346). ``safe`` is that rule, the others are
    simpler.

    Attributes:
        when: ``always``; ``unsure``, where the main model's most likely token has a probability below ``below``, before
            temperature and filters; ``boundary``, where the tokens of every other member still begin with those of
            the text so far once the main model's most likely token has followed; or ``safe``, where that is so and the
            members do not agree. Where a member would merge the two anew, it has seldom been asked to go on from
            there, and what it says is not to be relied on. Inside a character there is no boundary.

            Members agree where every other one's most likely token is the first that it reads of the main model's most
            likely token; or where the mean over all members, by their weights, of the probabilities of their own such
            tokens is above 1/2. To know it, all are read: where they agree, only fusing is saved.
        below: Only with ``unsure``; 0.9 by default.
        straddle: Only with ``safe``: whether places that are no boundary are open, too, under a method that reads
            members at earlier boundaries (``surface``, with its ``straddle`` above 0). On by default.
        sharpen: Only with ``safe``: whether, where no fused token has 1/2, those with more than 0.1 take over the
            probability of all tokens that begin with their surface. On by default. Scores leave it out.

    ``safe`` with ``straddle=False`` is the published rule with drafts of one token: what follows a place is the main
    model's most likely token, where the paper looks five tokens ahead. So drafts, whose number adapts to other texts,
    too, change no answer. In sampling the paper leaves the first kind of agreement out; here it stays.
    """

    when: When = "always"
    below: float | None = Field(None, gt=0, le=1)
    straddle: bool | None = None
    sharpen: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {**given, **{k: v for k, v in _DEFAULTS.get(given.get("when"), {}).items() if given.get(k) is None}}
        return given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for when, options in _DEFAULTS.items():
            for name in options:
                if (value := getattr(self, name)) is not None and self.when != when:
                    raise ValueError(f"{name}={value} is for when={when!r}, not for {self.when!r}")
        return self

    @model_serializer(mode="plain")
    def _short(self) -> dict[str, Any]:
        return {"when": self.when, **{name: getattr(self, name) for name in _DEFAULTS.get(self.when, {})}}


def named_gate(given: str | Mapping[str, Any]) -> Gate:
    """The gate of a name, or of a mapping with ``when`` and options.

    Raises:
        ConfigError: There is none of this name, or an option cannot be used.

    >>> named_gate("unsure").below
    0.9
    """
    options = {"when": given} if isinstance(given, str) else dict(given)
    name, known = options.get("when", "always"), get_args(When)
    if name not in known:
        raise ConfigError(
            f"unknown gate {name!r}{suggestion(name, known)}",
            hint=f"known are {', '.join(known)}",
        )
    return Gate(**options)
