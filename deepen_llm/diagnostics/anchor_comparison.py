"""Comparison of members by their shared anchors, which ``bayes`` and ``deepen`` use and ``surface`` does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from deepen_llm.diagnostics.agreement import CALIBRATED, PAPER, Agreement, agreement
from deepen_llm.diagnostics.comparison import groups
from deepen_llm.errors import VocabularyError
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.consistency import Consistency, consistency
from deepen_llm.vocabulary import shared_anchors


class AnchorConsistency(NamedTuple):
    """The consistency of one anchor.

    Attributes:
        text: The anchor's text (`Vocabulary.shown`).
        consistency: The similarity of the members' representations of it.
    """

    text: str
    consistency: float


@dataclass(frozen=True, eq=False)
class AnchorComparison:
    """A comparison of members by their shared anchors.

    Attributes:
        members: The members' names.
        anchors: The number of shared anchors, A.
        paper: The agreement in the paper's space.
        calibrated: The agreement in the calibrated space.
        consistency: The consistency of each anchor in the calibrated space.
        texts: The anchors' texts, A of them.
    """

    members: tuple[str, ...]
    anchors: int
    paper: Agreement
    calibrated: Agreement
    consistency: Consistency
    texts: tuple[str, ...]

    def most_consistent(self, count: int = 10) -> list[AnchorConsistency]:
        """List the most consistent anchors, the most consistent first."""
        return self._texts_of(self.consistency.ranked()[:count])

    def least_consistent(self, count: int = 10) -> list[AnchorConsistency]:
        """List the least consistent anchors, the least consistent first."""
        return self._texts_of(self.consistency.ranked()[::-1][:count])

    def record(self) -> dict[str, Any]:
        """Convert the comparison to plain values for JSON, with the ten most and least consistent anchors."""
        found = self.consistency
        tokens = {"most": self.most_consistent(), "least": self.least_consistent()}
        return {
            "members": list(self.members),
            "anchors": self.anchors,
            "paper": asdict(self.paper),
            "calibrated": asdict(self.calibrated),
            "consistency": {
                "mean": found.mean,
                "chance": found.chance,
                "deciles": list(found.deciles()),
                **{name: [anchor._asdict() for anchor in anchors] for name, anchors in tokens.items()},
            },
        }

    def _texts_of(self, columns: Sequence[int]) -> list[AnchorConsistency]:
        values = self.consistency.values.tolist()
        return [AnchorConsistency(self.texts[column], values[column]) for column in columns]


def compare_anchors(members: Sequence[Fusible], *, sample: int = 512) -> list[AnchorComparison]:
    """Compare each pair of members by its shared anchors, then, of more than two members, all by their joint anchors.

    Members without a shared anchor are left out.

    >>> from deepen_llm import EnsembleLLM, specialists
    >>> ensemble = EnsembleLLM.from_pretrained(specialists.paths())
    >>> [pair] = compare_anchors(ensemble.members[1:])
    >>> pair.members, pair.anchors, round(pair.consistency.mean, 2), round(pair.consistency.chance, 2)
    (('curie', 'webster'), 1128, 0.42, 0.3)

    Args:
        members: The members, such as an ensemble's ``members``.
        sample: The most anchors for the agreement; the consistency is that of all anchors.
    """
    return [compared for group in groups(members) if (compared := _compared(group, sample))]


def _compared(group: Sequence[Fusible], sample: int) -> AnchorComparison | None:
    vocabularies = [member.vocabulary for member in group]
    try:
        ids = shared_anchors(vocabularies)
    except VocabularyError:
        return None
    paper, calibrated = (agreement(group, space, sample=sample) for space in (PAPER, CALIBRATED))
    return AnchorComparison(
        members=tuple(member.name for member in group),
        anchors=ids.shape[1],
        paper=paper,
        calibrated=calibrated,
        consistency=consistency(group, ids, CALIBRATED),
        texts=tuple(map(vocabularies[0].shown, ids[0].tolist())),
    )
