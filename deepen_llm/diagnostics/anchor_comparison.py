"""How alike members see the anchors that they share: what ``bayes`` and ``deepen`` go by; ``surface`` looks at none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor

from deepen_llm.diagnostics.agreement import CALIBRATED, PAPER, Agreement, agreement
from deepen_llm.diagnostics.comparison import groups
from deepen_llm.errors import VocabularyError
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.relative.consistency import Consistency, consistency
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
class AnchorComparison:
    """Some members on the anchors that they share, one at least.

    Attributes:
        members: Their names.
        anchors: Number of shared anchors, A.
        paper: How far they agree in the paper's space.
        calibrated: The same in the calibrated space.
        consistency: How alike they see each anchor, in the calibrated space.
        texts: The anchors' texts, A of them.
    """

    members: tuple[str, ...]
    anchors: int
    paper: Agreement
    calibrated: Agreement
    consistency: Consistency
    texts: tuple[str, ...]

    def most_consistent(self, count: int = 10) -> list[AnchorConsistency]:
        """The anchors that the members see most alike, the first one most."""
        return self._named(self.consistency.ranked()[:count])

    def least_consistent(self, count: int = 10) -> list[AnchorConsistency]:
        """The anchors that the members see least alike, the first one least."""
        return self._named(self.consistency.ranked()[::-1][:count])

    def record(self) -> dict[str, Any]:
        """Everything but single anchors, of which it has the ten most and least consistent, for ``json.dumps``."""
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
                **{name: [one._asdict() for one in some] for name, some in tokens.items()},
            },
        }

    def _named(self, columns: Sequence[int]) -> list[AnchorConsistency]:
        values = self.consistency.values.tolist()
        return [AnchorConsistency(self.texts[column], values[column]) for column in columns]


def compare_anchors(members: Sequence[Fusible], *, sample: int = 512) -> list[AnchorComparison]:
    """Compare each pair of members over its own anchors, then, if they are more than two, all over the joint ones.

    Members that share no anchor are left out.

    >>> from deepen_llm import EnsembleLLM, specialists
    >>> ensemble = EnsembleLLM.from_pretrained(specialists.paths())
    >>> [pair] = compare_anchors(ensemble.members[1:])
    >>> pair.members, pair.anchors, round(pair.consistency.mean, 2), round(pair.consistency.chance, 2)
    (('curie', 'webster'), 1128, 0.42, 0.3)

    Args:
        members: The members, such as an ensemble's ``members``.
        sample: The most anchors from which agreement is measured; consistency is always that of all.
    """
    return [found for group in groups(members) if (found := _compared(group, sample))]


def _compared(group: Sequence[Fusible], sample: int) -> AnchorComparison | None:
    vocabularies = [member.vocabulary for member in group]
    try:
        ids = shared_anchors(vocabularies)
    except VocabularyError:
        return None
    paper, calibrated = (agreement(group, space, sample=sample) for space in (PAPER, CALIBRATED))
    found, texts = consistency(group, ids, CALIBRATED), anchor_texts(vocabularies[0], ids[0])
    names = tuple(member.name for member in group)
    return AnchorComparison(names, ids.shape[1], paper, calibrated, found, texts)


def anchor_texts(vocabulary: Vocabulary, ids: Tensor) -> tuple[str, ...]:
    """The texts of some tokens, ids ``[A]``; the end of text is ``<end>``, bytes that are no character are escaped."""
    return tuple(
        "<end>"
        if token in vocabulary.end_of_text
        else (vocabulary.surfaces[token] or b"").decode(errors="backslashreplace")
        for token in ids.tolist()
    )
