"""Comparison of members: what their tokenizers have in common, and how their answers overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, TypeVar

from deepen_llm.errors import ConfigError, VocabularyError
from deepen_llm.fusion.base import Spelling
from deepen_llm.fusion.surfaces.correspondence import Edges
from deepen_llm.tuning.answered import MemberAnswers
from deepen_llm.tuning.overlap import Overlap, Verdict
from deepen_llm.vocabulary import shared_anchors

_Member = TypeVar("_Member")

MARGIN = 0.1
"""The least difference of `Comparison.one_to_one` for which another main model than the best member is advised."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of two or more members.

    Attributes:
        members: The members' names.
        shared: The number of tokens that all of them have, including the end of text.
        share: The same as a share of the smallest vocabulary.
        one_to_one: With each member as the main model, the share of the others' tokens that begin only one of its
            tokens, so that their evidence needs no prior.
        overlap: The overlap of their answers; None without answers.
    """

    members: tuple[str, ...]
    shared: int
    share: float
    one_to_one: tuple[float, ...]
    overlap: Overlap | None

    @property
    def main(self) -> str | None:
        """The advised main model: one with a much larger `one_to_one`, else the best member.

        None if neither is known.
        """
        *_, second, most = sorted(range(len(self.members)), key=self.one_to_one.__getitem__)
        first = self.overlap.best if self.overlap else second
        if self.one_to_one[most] >= self.one_to_one[first] + MARGIN:
            return self.members[most]
        return self.members[first] if self.overlap else None

    @property
    def verdict(self) -> Verdict:
        """The verdict whether to fuse them."""
        return self.overlap.verdict if self.overlap else "not known"

    @property
    def reason(self) -> str:
        """The verdict with its reason."""
        if self.overlap:
            return self.overlap.explain(self.members)
        return "not known: tokenizers do not tell what is gained; a development set does"

    def record(self) -> dict[str, Any]:
        """Convert the comparison to plain values for JSON."""
        return {**asdict(self), "main": self.main, "verdict": self.verdict, "reason": self.reason}


def compare(members: Sequence[Spelling], answered: Mapping[str, MemberAnswers] | None = None) -> list[Comparison]:
    """Compare each pair of members, then, of more than two members, all of them.

    >>> from deepen_llm import EnsembleLLM, specialists
    >>> from deepen_llm.tuning.answered import ask
    >>> members = EnsembleLLM.from_pretrained(specialists.paths()).members[1:]
    >>> [pair] = compare(members, ask(members, specialists.file("dev"), chat=True))
    >>> print(pair.reason.partition(";")[0])
    worth trying: of what curie gets wrong, webster answers 50 % right (41 to 59)

    Args:
        members: The members, such as an ensemble's ``members``.
        answered: The answers of each member, by its name (`deepen_llm.tuning.answered.ask`); without them there is no
            verdict.

    Raises:
        ConfigError: The answers of a member are missing.
    """
    if missing := [member.name for member in members if answered is not None and member.name not in answered]:
        raise ConfigError(
            f"expected answers of all members, got none of {', '.join(missing)}", hint="give ask() the same members"
        )
    return [_compared(group, answered) for group in groups(members)]


def groups(members: Sequence[_Member]) -> list[Sequence[_Member]]:
    """List each pair and, of more than two, all."""
    pairs: list[Sequence[_Member]] = [*combinations(members, 2)]
    return [*pairs, members] if len(pairs) > 1 else pairs


def one_to_one(member: Spelling, main: Spelling) -> float:
    """Compute the share of a member's tokens that begin only one of the main model's tokens (`Edges.single`)."""
    if member.vocabulary.fingerprint == main.vocabulary.fingerprint:
        return 1.0
    single = Edges.between(member, main).single
    known = [id_ for id_, surface in enumerate(member.vocabulary.surfaces) if surface]
    return float((single[known] < main.vocabulary.size).double().mean())


def _compared(group: Sequence[Spelling], answered: Mapping[str, MemberAnswers] | None) -> Comparison:
    vocabularies = [member.vocabulary for member in group]
    try:
        shared = shared_anchors(vocabularies).shape[1]
    except VocabularyError:
        shared = 0
    names = tuple(member.name for member in group)
    mapped = [fmean(one_to_one(other, main) for j, other in enumerate(group) if j != i) for i, main in enumerate(group)]
    overlap = Overlap.of([answered[name] for name in names]) if answered is not None else None
    share = shared / min(vocabulary.tokenizer_size for vocabulary in vocabularies)
    return Comparison(members=names, shared=shared, share=share, one_to_one=tuple(mapped), overlap=overlap)
