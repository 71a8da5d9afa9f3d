"""A setting's outcome, from recorded logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.gating import is_confident
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import AggregationWeights, Bayes, FixedWeights, Fusion, FusionMethod, adapted_weights
from deepen_llm.fusion.base import Fusible
from deepen_llm.fusion.gate import Gate
from deepen_llm.fusion.weights.dynamic import DynamicWeights
from deepen_llm.members.local.member import LocalMember
from deepen_llm.vocabulary import shared_anchors
from research.study.long_lab import LongLab
from research.study.outputs import output_side
from research.study.questions import Asked
from research.study.recording import Record, followed, kept_record

_PORTION = 512  # tokens fused at a time


@dataclass(frozen=True)
class Outcome:
    """The outcome of a setting on Q questions.

    Attributes:
        right: Whether greedy decoding gives the right answer, ``[Q]``.
        loss: The right answer's negative log-likelihood, its end included, in nats, ``[Q]``.
    """

    right: Tensor
    loss: Tensor

    @property
    def rank(self) -> tuple[float, float]:
        """The key for choosing settings: the score, then the likelihood."""
        return float(self.right.double().mean()), -float(self.loss.double().mean())


@dataclass(frozen=True)
class Setting:
    """An ensemble.

    Attributes:
        members: Names of the members.
        main: Name of the main model.
        fusion: The fusion method.
        weights: Aggregation weights, fixed or dynamic; None for equal ones.
        gate: The gate.
        outputs: Whether tokens are compared by output embeddings.
    """

    members: tuple[str, ...]
    main: str
    fusion: FusionMethod = field(default_factory=Bayes)
    weights: tuple[float, ...] | DynamicWeights | None = None
    gate: Gate = field(default_factory=Gate)
    outputs: bool = False


class Lab:
    """Members, questions and recorded logits.

    Args:
        members: Members by name.
        asked: The sets of questions: ``dev``, ``test``, and ``once``, each fact of the test in one wording.
        folder: The folder of recordings.
        chains: The folder of the members for long answers; None without tables of these.
    """

    def __init__(
        self,
        members: Mapping[str, LocalMember],
        asked: Mapping[str, Sequence[Asked]],
        folder: Path,
        chains: Path | None = None,
    ) -> None:
        self._members, self.asked, self.folder, self._chains = members, asked, folder, chains
        self._record = lru_cache(maxsize=2)(self._read)
        self._known: dict[tuple[str, str], Outcome] = {}

    @cached_property
    def long(self) -> LongLab:
        """The members that give long answers, and their questions.

        Raises:
            ConfigError: No folder was given.
            LoadError: A checkpoint is missing or cannot be read.
        """
        if self._chains is None:
            raise ConfigError("long answers of no members", hint="give Lab the folder that chains' training filled")
        return LongLab(self._chains)

    def facts(self, split: str) -> list[str]:
        """List the fact of each question of a set."""
        return [one.fact for one in self.asked[split]]

    def member(self, name: str) -> LocalMember:
        """A member by its name."""
        return self._members[name]

    def alone(self, name: str, split: str) -> Outcome:
        """Compute the outcome of a member alone."""
        return self.outcome(Setting((name,), name), split)

    def adapted(self, names: Sequence[str]) -> tuple[float, ...]:
        """DEEPEN-Adapt's weights: in proportion to the members' scores on the development questions."""
        return tuple(adapted_weights([self.alone(name, "dev").rank[0] for name in names]))

    def outcome(self, setting: Setting, split: str) -> Outcome:
        """Compute the outcome of a setting on a set of questions, once."""
        key = (split, repr(setting))
        if key not in self._known:
            self._known[key] = self._outcome(setting, split)
        return self._known[key]

    def shared(self, main: str, other: str, split: str) -> tuple[Tensor, list[str]]:
        """Whether a member has each of the main model's tokens in the right answers, ``[P]``, and their facts."""
        record, facts = self._record((main,), main, split), self.facts(split)
        ids = shared_anchors([self._members[main].vocabulary, self._members[other].vocabulary])[0]
        return torch.isin(record.targets, ids), [facts[owner] for owner in record.owners.tolist()]

    def fused_share(self, setting: Setting, split: str) -> float:
        """Compute the share of fused tokens, for any gate except ``safe``.

        Raises:
            ConfigError: The gate is ``safe``, which depends on tokens that are not recorded.
        """
        if setting.gate.when == "safe":
            raise ConfigError("what members read next is not recorded", hint="take another gate than 'safe'")
        weights = self._weights(setting, self._record(setting.members, setting.main, split))
        return float((weights[:, setting.members.index(setting.main)] < 1).double().mean())

    def prepare(self, setting: Setting) -> Fusion:
        """The setting's fusion method, bound to its members."""
        views: list[Fusible] = [self._members[name] for name in setting.members]
        if setting.outputs:
            views = [output_side(self._members[name]) for name in setting.members]
        return setting.fusion.prepare(views, setting.members.index(setting.main))

    def _outcome(self, setting: Setting, split: str) -> Outcome:
        fusion = self.prepare(setting)
        learns = isinstance(setting.weights, DynamicWeights) and setting.weights.learns
        along = fusion.back or learns or setting.gate.when == "safe"
        return self.read_along(setting, fusion, split) if along else self.replayed(setting, fusion, split)

    def read_along(self, setting: Setting, fusion: Fusion, split: str) -> Outcome:
        """Fuse along answers that members read again, for settings that need logits at earlier or committed tokens."""
        members = [self._members[name] for name in setting.members]
        weights = setting.weights
        aggregation = weights if isinstance(weights, DynamicWeights) else FixedWeights(weights or [1.0] * len(members))
        main = setting.members.index(setting.main)
        ensemble = Ensemble(members, main, fusion, aggregation, "fused", gate=setting.gate)
        logits, targets, owners = followed(ensemble, self.asked[split])
        loss, right = self._judged(logits, targets, setting.main)
        return _by_question(loss, right, owners)

    def replayed(self, setting: Setting, fusion: Fusion, split: str) -> Outcome:
        """Fuse the recorded logits; members read nothing again."""
        record = self._record(setting.members, setting.main, split)
        everyone = [one.logits for one in record.said]
        weights = self._weights(setting, record)
        losses, rights = [], []
        torch.set_flush_denormal(True)  # rows of a sharp space have many denormals: ten times slower, the same results
        try:
            for first in range(0, len(record.targets), _PORTION):
                part = slice(first, first + _PORTION)
                fused = fusion.fuse([one[part] for one in everyone], weights[part])
                loss, right = self._judged(fused, record.targets[part], setting.main)
                losses.append(loss)
                rights.append(right)
        finally:
            torch.set_flush_denormal(False)
        return _by_question(torch.cat(losses), torch.cat(rights), record.owners)

    def _weights(self, setting: Setting, record: Record) -> Tensor:
        """The weights in force before each token, ``[P, N]``, the gate's share in them included."""
        logits, main = [one.logits for one in record.said], setting.members.index(setting.main)
        chosen = setting.weights
        if not isinstance(chosen, DynamicWeights):
            aggregation: AggregationWeights = FixedWeights(chosen or [1.0] * len(logits))
        else:
            aggregation = chosen
        state = aggregation.per_prompt(list(zip(*(one.prompts for one in record.said), strict=True)))
        weights = aggregation.per_token(logits, state[record.owners]).float()
        shut = torch.tensor(is_confident(setting.gate, logits[main]))
        if setting.gate.when == "boundary":
            shut = torch.stack([one.merges for i, one in enumerate(record.said) if i != main]).any(0)
        return torch.where(shut.unsqueeze(1), torch.eye(len(logits))[main], weights)

    def _judged(self, fused: Tensor, targets: Tensor, main: str) -> tuple[Tensor, Tensor]:
        """The right token's loss, and whether it is the likeliest; all ends of text are one."""
        ends = torch.tensor(self._members[main].vocabulary.end_of_text)
        logprobs, best = fused.log_softmax(-1), fused.argmax(-1)
        ending = torch.isin(targets, ends)
        own = logprobs.gather(1, targets.unsqueeze(1))[:, 0]
        loss = -torch.where(ending, logprobs[:, ends].logsumexp(-1), own)
        return loss, torch.where(ending, torch.isin(best, ends), best == targets)

    def _read(self, names: tuple[str, ...], main: str, split: str) -> Record:
        members = [self._members[name] for name in names]
        return kept_record(self.folder, members, names.index(main), self.asked[split], split)


def _by_question(loss: Tensor, right: Tensor, owners: Tensor) -> Outcome:
    count = int(owners.max()) + 1
    wrong = torch.zeros(count).index_add(0, owners, (~right).float())
    return Outcome(wrong == 0, torch.zeros(count).index_add(0, owners, loss))
