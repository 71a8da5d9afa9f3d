"""Which members are worth fusing: what their tokenizers have in common, and what they answer alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, TypeVar

from deepen_llm.errors import ConfigError, VocabularyError
from deepen_llm.fusion.base import Spelling
from deepen_llm.fusion.surfaces.correspondence import Edges
from deepen_llm.tuning.answered import Answered
from deepen_llm.tuning.overlap import Overlap, Verdict
from deepen_llm.vocabulary import shared_anchors

_Member = TypeVar("_Member")

MARGIN = 0.1
"""How much more evidence has to map one to one, for another main model than the best member to be advised."""


@dataclass(frozen=True)
class Comparison:
    """Some members beside each other.

    Attributes:
        members: Their names.
        shared: Number of tokens that all of them have, the end of text among them.
        share: The share of the smallest vocabulary that these are.
        one_to_one: With each member as the main model, the share of the others' tokens that may begin one of its
            tokens only: their evidence needs no prior of its own.
        overlap: How their answers overlap; None where they were not asked.
    """

    members: tuple[str, ...]
    shared: int
    share: float
    one_to_one: tuple[float, ...]
    overlap: Overlap | None

    @property
    def main(self) -> str | None:
        """The main model that is advised: one that others' evidence maps much better to, else the best member.

        None where neither is known.
        """
        *_, second, most = sorted(range(len(self.members)), key=self.one_to_one.__getitem__)
        first = self.overlap.best if self.overlap else second
        if self.one_to_one[most] >= self.one_to_one[first] + MARGIN:
            return self.members[most]
        return self.members[first] if self.overlap else None

    @property
    def verdict(self) -> Verdict:
        """Whether they are worth fusing."""
        return self.overlap.verdict if self.overlap else "not known"

    @property
    def reason(self) -> str:
        """The verdict with its reason, as a sentence."""
        if self.overlap:
            return self.overlap.told(self.members)
        return "not known: tokenizers do not tell what is gained; a development set does"

    def record(self) -> dict[str, Any]:
        """Everything, for ``json.dumps``."""
        return {**asdict(self), "main": self.main, "verdict": self.verdict, "reason": self.reason}


def compare(members: Sequence[Spelling], answered: Mapping[str, Answered] | None = None) -> list[Comparison]:
    """Compare each pair of members, then, if they are more than two, all of them.

    >>> from deepen_llm import EnsembleLLM, specialists
    >>> from deepen_llm.tuning.answered import ask
    >>> members = EnsembleLLM.from_pretrained(specialists.paths()).members[1:]
    >>> [pair] = compare(members, ask(members, specialists.file("dev"), chat=True))
    >>> print(pair.reason.partition(";")[0])
    worth trying: of what curie gets wrong, webster answers 50 % right (41 to 59)

    Args:
        members: The members, such as an ensemble's ``members``.
        answered: What each answered alone, by its name (`deepen_llm.tuning.answered.ask`); without it there is no
            verdict.

    Raises:
        ConfigError: A member was not asked.
    """
    if missing := [member.name for member in members if answered is not None and member.name not in answered]:
        raise ConfigError(f"no answers of {', '.join(missing)}", hint="give ask() the same members")
    return [_compared(group, answered) for group in groups(members)]


def groups(members: Sequence[_Member]) -> list[Sequence[_Member]]:
    """Each pair and, if they are more than two, all."""
    pairs: list[Sequence[_Member]] = [*combinations(members, 2)]
    return [*pairs, members] if len(pairs) > 1 else pairs


def one_to_one(member: Spelling, main: Spelling) -> float:
    """The share of a member's tokens that may begin one of the main model's tokens only (`Edges.single`)."""
    if member.vocabulary.fingerprint == main.vocabulary.fingerprint:
        return 1.0
    single = Edges.between(member, main).single
    known = [id_ for id_, surface in enumerate(member.vocabulary.surfaces) if surface]
    return float((single[known] < main.vocabulary.size).double().mean())


def _compared(group: Sequence[Spelling], answered: Mapping[str, Answered] | None) -> Comparison:
    vocabularies = [member.vocabulary for member in group]
    try:
        shared = shared_anchors(vocabularies).shape[1]
    except VocabularyError:
        shared = 0
    names = tuple(member.name for member in group)
    mapped = [fmean(one_to_one(other, main) for j, other in enumerate(group) if j != i) for i, main in enumerate(group)]
    overlap = Overlap.of([answered[name] for name in names]) if answered is not None else None
    share = shared / min(vocabulary.tokenizer_size for vocabulary in vocabularies)
    return Comparison(names, shared, share, tuple(mapped), overlap)
