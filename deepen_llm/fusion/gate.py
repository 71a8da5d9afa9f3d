"""Gates, which choose where members are fused: always, where the main model is unsure, at boundaries, or by SAFE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, model_serializer, model_validator
from typing_extensions import Self

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.options import Options

When = Literal["always", "unsure", "boundary", "safe"]
"""The gates, by the names that users give them."""

_DEFAULTS: dict[Any, dict[str, Any]] = {  # of the options that belong to one gate only
    "unsure": {"below": 0.9},
    "safe": {"straddle": True, "sharpen": True},
}


class Gate(Options):
    """Where the members are fused; at every other position the main model's distribution is used.

    Fusing at every token can damage long answers. SAFE (arXiv 2510.15346) chooses positions by the agreement of
    tokenizers and by the confidence of models. ``safe`` is that rule; the other gates are simpler.

    Attributes:
        when: ``always``; ``unsure``, where the main model's most likely token has a probability below ``below``, before
            temperature and filters; ``boundary``, where the tokens of every other member still begin with those of
            the text so far once the main model's most likely token has followed; or ``safe``, where that is so and the
            members do not agree. Where a member's tokenizer would merge the tokens on both sides, the member was
            rarely trained to continue from there, and its prediction is unreliable. Inside a character there is no
            boundary.

            Members agree where every other member's most likely token is the first token of its encoding of the main
            model's most likely token; or where the mean over all members, by weight, of the probabilities of these
            tokens is above 1/2. All members are read to find that out: where they agree, only fusing is saved.
        below: Only with ``unsure``; 0.9 by default.
        straddle: Only with ``safe``: whether positions that are no boundary are open, too, under a method that reads
            members at earlier boundaries (``surface``, with its ``straddle`` above 0). On by default.
        sharpen: Only with ``safe``: whether, where no fused token has a probability of 1/2, those with more than 0.1
            receive the probability of all tokens that begin with their surface. On by default. Scores do not use it.

    ``safe`` with ``straddle=False`` is the published rule with drafts of one token: only the main model's most likely
    token is considered after a position, where the paper considers five. So drafts, whose number depends on other
    texts, too, change no answer. In sampling the paper does not use the first kind of agreement; here it is used.
    """

    when: When = "always"
    below: float | None = Field(None, gt=0, le=1)
    straddle: bool | None = None
    sharpen: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, options: Any) -> Any:
        if isinstance(options, Mapping):
            defaults = _DEFAULTS.get(options.get("when"), {})
            return {**options, **{name: value for name, value in defaults.items() if options.get(name) is None}}
        return options

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for when, options in _DEFAULTS.items():
            for name in options:
                if (value := getattr(self, name)) is not None and self.when != when:
                    raise ValueError(f"expected when={when!r} with {name}={value}, got {self.when!r}: leave {name} out")
        return self

    @model_serializer(mode="plain")
    def _short(self) -> dict[str, Any]:
        return {"when": self.when, **{name: getattr(self, name) for name in _DEFAULTS.get(self.when, {})}}


def named_gate(setting: str | Mapping[str, Any]) -> Gate:
    """The gate that a name, or a mapping with ``when`` and options, describes.

    Raises:
        ConfigError: No gate has this name, or an option cannot be used.

    >>> named_gate("unsure").below
    0.9
    """
    options = {"when": setting} if isinstance(setting, str) else dict(setting)
    name, known = options.get("when", "always"), get_args(When)
    if name not in known:
        raise ConfigError(
            f"unknown gate {name!r}{suggestion(name, known)}",
            hint=f"known are {', '.join(known)}",
        )
    return Gate(**options)
