"""What one member has read so far: rows of text, and next-token logits at their boundaries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from deepen_llm.fusion.past import Trail
from deepen_llm.fusion.surfaces.expected import Evidence
from deepen_llm.members.text.encoding import Draft


@dataclass(frozen=True)
class Reading:
    """Next-token logits at P places: each row's boundaries one after the other, the rows in turn.

    Attributes:
        logits: fp32 ``[P, V_i]``; padding beyond the tokenizer is ``-inf``.
        lengths: For each row, how many tokens the text has at each boundary.
        trails: What was read last before each place; empty where the context was opened with ``back=0``.
        evidence: What the member expects at each place, once prompts that end inside a token are healed (`Healer`).
    """

    logits: Tensor
    lengths: Sequence[Sequence[int]]
    trails: Sequence[Trail] = ()
    evidence: Sequence[Evidence] = ()


class Context(ABC):
    """What one member has read: B rows of text."""

    @abstractmethod
    def boundaries(self, drafts: Sequence[Draft]) -> list[list[int]]:
        """For each row, the tokens that the text has at each boundary of a draft, as far as one reading can tell them.

        A draft ends before the first step after which the member's tokens would no longer begin with those at the
        boundary before it: what was read of the draft until there would not be what the text is encoded as.

        Args:
            drafts: For each row, what may come next; may be empty.
        """

    @abstractmethod
    def added(self, drafts: Sequence[Draft]) -> list[list[int] | None]:
        """For each row, the tokens that the last step of a draft adds; none for an empty draft.

        None where the tokens after the draft do not begin with those at every boundary before its end. Unlike
        `boundaries`, this tells of the tokenizer alone, not of what the model can read at once.

        Args:
            drafts: For each row, what may come next.
        """

    @abstractmethod
    def read(self, drafts: Sequence[Draft], *, ends_only: bool = False) -> Reading:
        """Next-token logits for the text so far, and at the boundaries of drafts that may follow it.

        The drafts are not kept: what follows is what `append` says. On an accelerator the logits may still be under
        way when this returns.

        Args:
            drafts: For each row, what may come next, no longer than `boundaries` tells.
            ends_only: Tell each row's last boundary only.
        """

    @abstractmethod
    def check(self) -> None:
        """Wait for the last reading.

        Raises:
            LogitsError: A row of it is NaN, ``+inf`` or all ``-inf``.
        """

    @abstractmethod
    def append(self, steps: Sequence[Draft]) -> None:
        """Append steps to each row: tokens stay as they are, text is encoded with what is before it."""

    @abstractmethod
    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""

    @abstractmethod
    def join(self, other: Context) -> None:
        """Take over another context's rows, behind the own ones; it was opened by the same member, and is used up."""

    @abstractmethod
    def close(self) -> None:
        """Free what the context holds; it cannot be used afterwards."""

    @abstractmethod
    def reread(self, rows: Sequence[int]) -> None:
        """Read these rows' text as the tokenizer encodes it, in place of the tokens that were appended.

        A row stays as it is where its encoding would be longer, or the text ends inside a character; there one token is
        read in place of several that spell the same, where the context was opened to tell that it is likelier.
        """

    @property
    @abstractmethod
    def ids(self) -> list[list[int]]:
        """Token ids of each row, the prompt's included."""

    def logits(self) -> Tensor:
        """Next-token logits for the text so far, ``[B, V_i]``.

        Raises:
            LogitsError: See `check`.
        """
        logits = self.read([()] * len(self.ids)).logits
        self.check()
        return logits
