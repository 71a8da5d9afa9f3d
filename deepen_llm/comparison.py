"""What members have in common: the anchors that they share, how alike they see them, and how well they fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

from torch import Tensor

from deepen_llm.errors import ConfigError, VocabularyError
from deepen_llm.fusion.agreement import CALIBRATED, PAPER, Agreement, agreement
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.consistency import Consistency, consistency
from deepen_llm.fusion.fit import Fit, fit
from deepen_llm.vocabulary import Vocabulary, shared_anchors


class AnchorConsistency(NamedTuple):
    """One anchor.

    Attributes:
        text: Its text; the end of text is ``<end>``.
        consistency: How alike the members see it.
    """

    text: str
    consistency: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Some members on the anchors that they share.

    Attributes:
        members: Their names.
        anchors: Number of shared anchors, A.
        share: The share of the smallest vocabulary that these are.
        paper: How far they agree in the paper's space; None without anchors.
        calibrated: The same in the calibrated space.
        consistency: How alike they see each anchor, in the calibrated space; None without anchors.
        texts: The anchors' texts, A of them.
        fit: How well they fit together.
    """

    members: tuple[str, ...]
    anchors: int
    share: float
    paper: Agreement | None
    calibrated: Agreement | None
    consistency: Consistency | None
    texts: tuple[str, ...]
    fit: Fit

    def most_consistent(self, count: int = 10) -> list[AnchorConsistency]:
        """The anchors that the members see most alike, the first one most."""
        return self._named(self._ranked()[:count])

    def least_consistent(self, count: int = 10) -> list[AnchorConsistency]:
        """The anchors that the members see least alike, the first one least."""
        return self._named(self._ranked()[::-1][:count])

    def record(self) -> dict[str, Any]:
        """Everything but single anchors, of which it has the ten most and least consistent, for ``json.dumps``."""
        found = self.consistency
        tokens = {"most": self.most_consistent(), "least": self.least_consistent()}
        return {
            "members": list(self.members),
            "anchors": self.anchors,
            "share": self.share,
            "paper": self.paper and asdict(self.paper),
            "calibrated": self.calibrated and asdict(self.calibrated),
            "consistency": found
            and {
                "mean": found.mean,
                "chance": found.chance,
                "deciles": list(found.deciles()),
                **{name: [one._asdict() for one in some] for name, some in tokens.items()},
            },
            "fit": asdict(self.fit),
        }

    def _ranked(self) -> list[int]:
        return self.consistency.ranked() if self.consistency else []

    def _named(self, columns: Sequence[int]) -> list[AnchorConsistency]:
        values = self.consistency.values.tolist() if self.consistency else []
        return [AnchorConsistency(self.texts[column], values[column]) for column in columns]


def compare(
    members: Sequence[Fusible], *, sample: int = 512, scores: Mapping[str, float] | None = None
) -> list[Comparison]:
    """Compare each pair of members over its own anchors, then, if they are more than two, all over the joint ones.

    >>> from deepen_llm import EnsembleLLM, specialists
    >>> ensemble = EnsembleLLM.from_pretrained(specialists.paths())
    >>> [pair] = compare(ensemble.members[1:])
    >>> pair.members, pair.anchors, pair.fit.verdict
    (('curie', 'webster'), 1128, 'fits well')

    Args:
        members: The members, such as an ensemble's ``members``.
        sample: The most anchors from which agreement is measured; consistency is always that of all.
        scores: Members' scores alone on the task at hand, as shares of right answers, by their names.

    Raises:
        ConfigError: A score is of no member, or not between 0 and 1.
    """
    names = [member.name for member in members]
    if unknown := sorted(set(scores or {}) - set(names)):
        raise ConfigError(f"a score of {unknown[0]!r}, which is no member", hint=f"members are {', '.join(names)}")
    groups: list[Sequence[Fusible]] = [*combinations(members, 2)]
    if len(groups) > 1:
        groups.append(members)
    return [_compared(group, sample, scores or {}) for group in groups]


def _compared(group: Sequence[Fusible], sample: int, scores: Mapping[str, float]) -> Comparison:
    names = tuple(member.name for member in group)
    known = [scores[name] for name in names] if set(names) <= set(scores) else None
    vocabularies = [member.vocabulary for member in group]
    try:
        ids = shared_anchors(vocabularies)
    except VocabularyError:
        return Comparison(names, 0, 0.0, None, None, None, (), fit(0, 0.0, 0.0, 0.0, known))
    paper, calibrated = (agreement(group, space, sample=sample) for space in (PAPER, CALIBRATED))
    found = consistency(group, ids, CALIBRATED)
    count = ids.shape[1]
    share = count / min(vocabulary.tokenizer_size for vocabulary in vocabularies)
    texts = anchor_texts(vocabularies[0], ids[0])
    judged = fit(count, share, found.mean, found.chance, known)
    return Comparison(names, count, share, paper, calibrated, found, texts, judged)


def anchor_texts(vocabulary: Vocabulary, ids: Tensor) -> tuple[str, ...]:
    """The texts of some tokens, ids ``[A]``; the end of text is ``<end>``, bytes that are no character are escaped."""
    return tuple(
        "<end>"
        if token in vocabulary.end_of_text
        else (vocabulary.surfaces[token] or b"").decode(errors="backslashreplace")
        for token in ids.tolist()
    )
