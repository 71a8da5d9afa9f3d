"""The interface of fusion methods, which combine the members' next-token distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from deepen_llm.fusion.needs import Needs
from deepen_llm.fusion.past import Past
from deepen_llm.fusion.search_step import SearchStep
from deepen_llm.fusion.tunable import Tunable
from deepen_llm.options import Options
from deepen_llm.vocabulary import Vocabulary


class Fusible(Protocol):
    """The properties of a member that fusion reads."""

    @property
    def name(self) -> str:
        """The member's name, for messages."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The member's vocabulary as bytes."""

    @property
    def embedding(self) -> Tensor | None:
        """The member's input token embeddings, ``[V_i, D_i]``; None where none can be read as numbers."""

    @property
    def missing_embedding(self) -> str:
        """Why ``embedding`` is None, to follow "the token embeddings of member X"."""


class Spelling(Fusible, Protocol):
    """The properties of a member that fusion by surfaces reads."""

    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        """The first token of the member's encoding of each text in the middle of another; -1 where there is none."""


class Fusion(ABC):
    """A fusion method bound to its members.

    Args:
        members: All members.
        main: Index of the main model among them.
        portion: How many positions to fuse at a time, so that memory does not grow with their number; None for all.

    Attributes:
        main: Index of the main model.
        back: At how many tokens before a position the method reads members with other vocabularies, too.
        rereads: Whether the main model reads its own encoding of a text whose tokens it did not choose.
    """

    back: int = 0
    rereads: bool = False

    def __init__(self, members: Sequence[Fusible], main: int, *, portion: int | None = None) -> None:
        self.main, self._portion = main, portion
        self._roles = [EndOfText(member.vocabulary.end_of_text) for member in members]
        self._vocabulary = members[main].vocabulary

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that tokens are chosen from; by default the main model's.

        A method with a vocabulary of its own maps every member's distribution to it, the main model's too, and is asked
        wherever a token is chosen. Inside a character, only members with this vocabulary have read its bytes; where
        there are none, `_fuse_after` is given them as ``past.unfinished``.
        """
        return self._vocabulary

    @property
    def has_own_vocabulary(self) -> bool:
        """Whether `vocabulary` is another one than the main model's."""
        return self.vocabulary is not self._vocabulary

    @torch.inference_mode()
    def fuse(
        self,
        logits: Sequence[Tensor],
        weights: Tensor,
        past: Past | None = None,
        parts: list[Tensor] | None = None,
    ) -> Tensor:
        """Fuse one step.

        A member's end-of-text ids count as one token, whatever their number. The fused mass of that token is divided
        over the main model's ids in proportion to its own probabilities of them. Where only the main model has weight,
        its logits are returned unchanged. Neither is so in a vocabulary of the method's own.

        Args:
            logits: Each member's next-token logits, fp32 ``[B, V_i]``.
            weights: Aggregation weights, ``[B, N]``, which sum to 1 over the members.
            past: What members read before the positions; None where that is not known.
            parts: A list to which a method that ``mixes`` appends each member's part of the mixture (see `parts`), the
                end of text as one token: ``[N, P, V_m]`` for each portion of P positions.

        Returns:
            Logits over `vocabulary`, ``[B, V_m]``, on the main model's device.
        """
        main = logits[self.main]
        on_cpu = weights.device.type == "cpu"  # else reading them would synchronize with the device
        alone = (weights[:, self.main] >= 1).tolist() if on_cpu else [True, False]
        if self.has_own_vocabulary:
            alone = [False]
        if parts is None and all(alone):
            return main
        if past is not None:
            self.read(logits, past)
        weights = weights.to(main.device, non_blocking=True)
        folded = [role.fold(of_member) for role, of_member in zip(self._roles, logits, strict=True)]
        size = self._portion or len(weights)
        portions = [slice(first, first + size) for first in range(0, len(weights), size)]
        fused = torch.cat(
            [
                self._fuse_after(
                    [of_member[portion] for of_member in folded], weights[portion], past and past.part(portion), parts
                )
                for portion in portions
            ]
        )
        fused = self._unfolded(fused, main)
        return torch.where(weights[:, self.main : self.main + 1] < 1, fused, main) if any(alone) else fused

    def read(self, logits: Sequence[Tensor], past: Past) -> None:  # noqa: B027 (most methods read nothing)
        """Write evidence into ``past.evidence``; for methods that read members at earlier boundaries."""

    def expected(self, logits: Sequence[Tensor], past: Past | None) -> Sequence[Tensor]:
        """Each member's prediction by all its readings, for weights that depend on its entropy.

        Args:
            logits: See `fuse`.
            past: See `fuse`.

        Returns:
            Logits, ``[B, V_i]`` or wider: columns after a member's tokens are for straddling tokens.
        """
        return logits

    @torch.inference_mode()
    def search_path(self, logits: Sequence[Tensor], weights: Tensor, token: int) -> tuple[SearchStep, ...]:
        """The objective and a token's probability at each search step of one position, by a second search; for traces.

        Args:
            logits: Each member's next-token logits, ``[1, V_i]``.
            weights: Aggregation weights, ``[1, N]``.
            token: The token whose probability is recorded.

        Returns:
            The start and every search step; empty where the method has a closed form, or only the main model has
            weight.
        """
        main = logits[self.main]
        if bool((weights[:, self.main] >= 1).all()) and not self.has_own_vocabulary:
            return ()
        folded = [role.fold(of_member) for role, of_member in zip(self._roles, logits, strict=True)]
        searched = self._search_path(folded, weights.to(main.device))
        unfolded = self._unfolded
        return tuple(SearchStep(value, float(unfolded(z, main).softmax(-1)[0, token])) for z, value in searched)

    def _unfolded(self, fused: Tensor, main: Tensor) -> Tensor:
        """Fused logits with the end of text divided over the main model's ids; in an own vocabulary they stay."""
        return fused if self.has_own_vocabulary else self._roles[self.main].unfold(fused, main)

    def _search_path(self, logits: Sequence[Tensor], weights: Tensor) -> list[tuple[Tensor, float]]:
        """`search_path`, for logits whose end of text is one token: the logits ``[1, V_m]`` and the objective there."""
        return []

    def _fuse_after(
        self, logits: Sequence[Tensor], weights: Tensor, past: Past | None, parts: list[Tensor] | None
    ) -> Tensor:
        """`_fuse`, for a method that reads ``past``, or that ``mixes``."""
        return self._fuse(logits, weights)

    @abstractmethod
    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        """`fuse`, for logits whose end of text is one token; finite or ``-inf``, never NaN.

        Returns:
            Logits over `vocabulary`, ``[B, V_m]``, on the scale of the main model's, since a repetition penalty
            depends on it: where all members have one distribution, they are the main model's own.
        """


class FusionMethod(Options, ABC):
    """The options of a fusion method, and its properties.

    A method of your own is passed as an object. A method that is imported in `deepen_llm.fusion.methods` has a name in
    Python, configuration files, on the command line, in `tune` and in the integrations (CONTRIBUTING.md).

    Attributes:
        title: One line that says what it does.
        reference: The paper, or the page of the documentation, that describes it.
        needs: What it needs of every member under any options.
        mixes: Whether the fused distribution is a mixture of the members' distributions over main tokens (see `parts`).
        tunables: The options that `tune` may choose, in the order in which they are chosen.
        starts: Options that `tune` tries first, those that change least in front. A method without ``starts`` is tried
            only where a search space names it; then its defaults are tried first.
        untuned: The options that `tune` keeps as they are in the ensemble, such as bounds on memory.
        method: The name that users give it, fixed by each subclass.
    """

    title: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.FULL_LOGITS})
    mixes: ClassVar[bool] = False
    tunables: ClassVar[tuple[Tunable, ...]] = ()
    starts: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    untuned: ClassVar[frozenset[str]] = frozenset()
    method: str

    @property
    def required(self) -> frozenset[Needs]:
        """What it needs of every member under its options: ``needs``, and more where an option requires it."""
        return self.needs

    @abstractmethod
    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """Bind the method to its members, and compute once what every step uses, such as relative spaces."""


class EndOfText:
    """A member's end-of-text role: several ids that count as one token, the primary one.

    Args:
        ids: The ids with the role, the primary one first; may be empty.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._by_device: dict[torch.device, Tensor] = {}  # the ids, copied to each device once

    def fold(self, logits: Tensor) -> Tensor:
        """Move the mass of all ids to the primary one, ``[B, V]`` to ``[B, V]``."""
        if len(self.ids) < 2:
            return logits
        ids = self._ids(logits.device)
        out = logits.index_fill(1, ids, -torch.inf)
        out[:, self.ids[0]] = logits.index_select(1, ids).logsumexp(-1)
        return out

    def unfold(self, fused: Tensor, unfused: Tensor) -> Tensor:
        """Divide the primary id's fused mass over the ids in proportion to ``unfused``, ``[B, V]`` each."""
        if len(self.ids) < 2:
            return fused
        ids = self._ids(unfused.device)
        ends = unfused.index_select(1, ids)
        impossible = ends.isneginf().all(-1)
        ends[:, 0].masked_fill_(impossible, 0.0)  # then the primary id gets all
        return fused.index_copy(1, ids, fused[:, self.ids[0], None] + ends.log_softmax(-1))

    def _ids(self, device: torch.device) -> Tensor:
        if device not in self._by_device:
            self._by_device[device] = torch.tensor(self.ids, device=device)
        return self._by_device[device]
