"""The context of one member: sequences of text, and next-token logits at their boundaries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from deepen_llm.fusion.past import Trail
from deepen_llm.fusion.surfaces.expected import Evidence
from deepen_llm.members.text.encoding import Draft

SHORTEST_PREFIX = 64
"""The fewest tokens that a member may keep of one text for another: fewer are not worth the other roundings."""


@dataclass(frozen=True)
class Reading:
    """Next-token logits at P positions: the boundaries of each sequence in order, sequence by sequence.

    Attributes:
        logits: fp32 ``[P, V_i]``; padding beyond the tokenizer is ``-inf``.
        lengths: For each sequence, how many tokens the text has at each boundary.
        trails: The tokens read last before each position; empty where the context was opened with ``back=0``.
        evidence: The member's evidence at each position, once prompts that end inside a token are healed (`Healer`).
    """

    logits: Tensor
    lengths: Sequence[Sequence[int]]
    trails: Sequence[Trail] = ()
    evidence: Sequence[Evidence] = ()


class Context(ABC):
    """B sequences of text that one member has read."""

    @abstractmethod
    def boundaries(self, drafts: Sequence[Draft]) -> list[list[int]]:
        """For each sequence, the number of tokens at each boundary of a draft, as far as one reading gives logits.

        A draft is cut before the first step that would change tokens before the step, since the tokenizer then encodes
        the text otherwise than it was read.

        Args:
            drafts: For each sequence, what may come next; may be empty.
        """

    @abstractmethod
    def added(self, drafts: Sequence[Draft]) -> list[list[int] | None]:
        """For each sequence, the tokens that the last step of a draft adds; none for an empty draft.

        None where the tokens after the draft do not begin with those at every boundary before its end. Unlike
        `boundaries`, this depends on the tokenizer only, not on what the model can read at once.

        Args:
            drafts: For each sequence, what may come next.
        """

    @abstractmethod
    def read(self, drafts: Sequence[Draft], *, ends_only: bool = False) -> Reading:
        """Next-token logits for the text so far, and at the boundaries of drafts that may follow it.

        The drafts are not kept; `append` extends the text. An accelerator may still compute the logits when this
        returns.

        Args:
            drafts: For each sequence, what may come next, no longer than `boundaries` returns.
            ends_only: Whether to give logits at each sequence's last boundary only.
        """

    @property
    def unread(self) -> list[int]:
        """For each sequence, how many tokens of its text the next `read` computes; 0 where that cannot be divided."""
        return [0] * len(self.ids)

    def prefill(self, most: int) -> None:  # noqa: B027 - nothing to do where `unread` is 0
        """Read the next tokens of the texts that have more unread ones, without logits.

        Args:
            most: How many tokens of each text.
        """

    @abstractmethod
    def check(self) -> None:
        """Wait for the last reading.

        Raises:
            LogitsError: Logits at a position are NaN, ``+inf`` or all ``-inf``. Its ``sequences`` tell where, so that
                the others can go on.
        """

    @abstractmethod
    def append(self, steps: Sequence[Draft]) -> None:
        """Append steps to each sequence: tokens stay as they are, text is encoded with what is before it."""

    @abstractmethod
    def select(self, sequences: Sequence[int]) -> None:
        """Keep these sequences, in this order; a sequence named twice is copied."""

    @abstractmethod
    def join(self, other: Context) -> None:
        """Append the sequences of another context of the same member, which cannot be used afterwards."""

    @abstractmethod
    def close(self) -> None:
        """Free the context's memory; it cannot be used afterwards."""

    @abstractmethod
    def reread(self, sequences: Sequence[int]) -> None:
        """Replace the appended tokens of these sequences by the tokenizer's own encoding of their text.

        A sequence keeps its tokens where that encoding is longer. Where the text ends inside a character and so cannot
        be encoded, one token replaces the last ones with the same surface, if the logits kept by ``back`` show that it
        is likelier.
        """

    @property
    @abstractmethod
    def ids(self) -> list[list[int]]:
        """Token ids of each sequence, the prompt's included."""

    def logits(self) -> Tensor:
        """Next-token logits for the text so far, ``[B, V_i]``.

        Raises:
            LogitsError: See `check`.
        """
        logits = self.read([()] * len(self.ids)).logits
        self.check()
        return logits
