"""The seam: how the members' next-token distributions become one."""

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
    """What fusion needs to know of a member."""

    @property
    def name(self) -> str:
        """The member's name, for messages."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Its vocabulary as bytes."""

    @property
    def embedding(self) -> Tensor | None:
        """Its input token embeddings, ``[V_i, D_i]``; None where there are none that can be read as numbers."""

    @property
    def missing_embedding(self) -> str:
        """Why there are none, to follow "the token embeddings of member X"."""


class Spelling(Fusible, Protocol):
    """What fusion by surfaces needs to know of a member."""

    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        """The token with which it begins each text in the middle of another; -1 where it has none for it."""


class Fusion(ABC):
    """A fusion method bound to its members.

    Args:
        members: All members.
        main: Index of the main model among them.
        portion: How many rows of a batch to fuse at a time, that memory may not grow with the batch; None for all.

    Attributes:
        back: How many tokens before a place the fusion looks at in members with other vocabularies.
        rereads: Whether the main model reads its own encoding of a text into which others put tokens.
    """

    back: int = 0
    rereads: bool = False

    def __init__(self, members: Sequence[Fusible], main: int, *, portion: int | None = None) -> None:
        self.main, self._portion = main, portion
        self._roles = [EndOfText(member.vocabulary.end_of_text) for member in members]
        self._vocabulary = members[main].vocabulary

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that tokens are chosen from; by default the main model's."""
        return self._vocabulary

    @torch.inference_mode()
    def fuse(
        self,
        logits: Sequence[Tensor],
        weights: Tensor,
        past: Past | None = None,
        parts: list[Tensor] | None = None,
    ) -> Tensor:
        """Fuse one step.

        A member's end-of-text ids count as one token, whatever their number; afterwards the main model's own share out
        their fused mass as it had it. A row in which only the main model has weight keeps its logits to the bit.

        Args:
            logits: Each member's next-token logits, fp32 ``[B, V_i]``.
            weights: Aggregation weights, ``[B, N]``; each row sums to 1.
            past: What came before; None where nothing is known of it.
            parts: Gets, from a method that ``mixes``, what each member says in the mixture (see `parts`), the end of
                text as one token: ``[N, rows, V_m]`` for each portion of the rows.

        Returns:
            Logits over the main vocabulary, ``[B, V_m]``, on the main model's device.
        """
        own = logits[self.main]
        known = weights.device.type == "cpu"  # without a wait
        alone = (weights[:, self.main] >= 1).tolist() if known else [True, False]
        if parts is None and all(alone):
            return own
        if past is not None:
            self.read(logits, past)
        weights = weights.to(own.device, non_blocking=True)
        folded = [role.fold(one) for role, one in zip(self._roles, logits, strict=True)]
        size = self._portion or len(weights)
        portions = [slice(first, first + size) for first in range(0, len(weights), size)]
        fused = torch.cat(
            [
                self._fuse_behind([one[rows] for one in folded], weights[rows], past and past.part(rows), parts)
                for rows in portions
            ]
        )
        fused = self._roles[self.main].unfold(fused, own)
        return torch.where(weights[:, self.main : self.main + 1] < 1, fused, own) if any(alone) else fused

    def read(self, logits: Sequence[Tensor], past: Past) -> None:  # noqa: B027 (most methods look at nothing)
        """Note in what came before what it tells; for methods that look at it (see `Past.evidence`)."""

    def expected(self, logits: Sequence[Tensor], past: Past | None) -> Sequence[Tensor]:
        """What each member expects, for weights that look at how sure it is.

        Args:
            logits: See `fuse`.
            past: See `fuse`.

        Returns:
            Logits, ``[B, V_i]``; behind a member's tokens may stand more columns, for what it expects otherwise.
        """
        return logits

    @torch.inference_mode()
    def search_path(self, logits: Sequence[Tensor], weights: Tensor, token: int) -> tuple[SearchStep, ...]:
        """How the search for one step's fused logits went, by running it again; for traces.

        Args:
            logits: Each member's next-token logits, ``[1, V_i]``.
            weights: Aggregation weights, ``[1, N]``.
            token: The main model's token whose probability is followed.

        Returns:
            The start and every search step; empty where nothing is searched: the method has a closed form, or only the
            main model has weight.
        """
        own = logits[self.main]
        if bool((weights[:, self.main] >= 1).all()):
            return ()
        folded = [role.fold(one) for role, one in zip(self._roles, logits, strict=True)]
        searched = self._search_path(folded, weights.to(own.device))
        unfold = self._roles[self.main].unfold
        return tuple(SearchStep(value, float(unfold(z, own).softmax(-1)[0, token])) for z, value in searched)

    def _search_path(self, logits: Sequence[Tensor], weights: Tensor) -> list[tuple[Tensor, float]]:
        """`search_path`, for logits whose end of text is one token: the logits ``[1, V_m]`` and the objective there."""
        return []

    def _fuse_behind(
        self, logits: Sequence[Tensor], weights: Tensor, past: Past | None, parts: list[Tensor] | None
    ) -> Tensor:
        """`_fuse`, for a method that looks at what came before, or that ``mixes``."""
        return self._fuse(logits, weights)

    @abstractmethod
    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        """`fuse`, for logits whose end of text is one token; finite or ``-inf``, never NaN.

        Returns:
            Logits over the main vocabulary, ``[B, V_m]``, on the scale of the main model's, on which a repetition
            penalty depends: where all members say the same, they are the main model's own.
        """


class FusionMethod(Options, ABC):
    """The settings of a fusion method, and what it says of itself.

    A method of your own is given as an object. One that is imported in `deepen_llm.fusion.methods` is known by its name
    in Python, configuration files, on the command line, in `tune` and in the integrations (CONTRIBUTING.md).

    Attributes:
        title: What it does, in a line.
        reference: The paper, or the page of the documentation, that describes it.
        needs: What it needs of every member, whatever its options.
        mixes: Whether the fused distribution is a mixture of what each member says over main tokens (see `parts`).
        tunables: The options that `tune` may choose, in the order in which they are chosen.
        starts: Options that `tune` begins with, the gentlest first. A method without any is tried only where a search
            space names it, and begins with its defaults.
        untuned: The options that `tune` leaves as the ensemble has them, such as bounds on memory.
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
        """What it needs of every member with the options as they are: ``needs``, and what these ask for beside it."""
        return self.needs

    @abstractmethod
    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """Bind the method to its members: anchors, spaces, whatever it computes once."""


class EndOfText:
    """A member's end-of-text role: several ids that count as one token, the primary one.

    Args:
        ids: The ids with the role, the primary one first; may be empty.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._on: dict[torch.device, Tensor] = {}  # the ids where they are needed, sent there once

    def fold(self, logits: Tensor) -> Tensor:
        """Move the mass of all ids to the primary one, ``[B, V]`` to ``[B, V]``."""
        if len(self.ids) < 2:
            return logits
        ids = self._ids(logits.device)
        out = logits.index_fill(1, ids, -torch.inf)
        out[:, self.ids[0]] = logits.index_select(1, ids).logsumexp(-1)
        return out

    def unfold(self, fused: Tensor, own: Tensor) -> Tensor:
        """Share the primary id's fused mass out over the ids as ``own`` had it, ``[B, V]`` each."""
        if len(self.ids) < 2:
            return fused
        ids = self._ids(own.device)
        ends = own.index_select(1, ids)
        none = ends.isneginf().all(-1)
        ends[:, 0].masked_fill_(none, 0.0)  # none had any: the primary one gets all
        return fused.index_copy(1, ids, fused[:, self.ids[0], None] + ends.log_softmax(-1))

    def _ids(self, device: torch.device) -> Tensor:
        if device not in self._on:
            self._on[device] = torch.tensor(self.ids, device=device)
        return self._on[device]
