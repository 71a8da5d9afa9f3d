"""A request of the engine, and the sequences that continue its prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.members.text.encoding import EncodedPrompt

AnySequence_co = TypeVar("AnySequence_co", bound="TokenSequence", covariant=True)


class TokenSequence(ABC):
    """Tokens that continue a prompt: those of an answer (`Answer`), or given ones (`GivenSequence`).

    Attributes:
        left_out: Names of the members that failed, and that the sequence goes on without.
    """

    left_out: tuple[str, ...] = ()

    @property
    @abstractmethod
    def begun(self) -> bool:
        """Whether the sequence has taken a token."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the sequence has ended."""

    @property
    @abstractmethod
    def token_limit(self) -> int:
        """The most tokens that it takes."""

    @abstractmethod
    def boundaries(self, draft: Sequence[Token]) -> list[Boundary]:
        """What is known of the text at each boundary of a draft: before it, and after each of its tokens."""

    @abstractmethod
    def end_at_limit(self, reached: bool) -> None:
        """End the sequence if no token fits into the members' context windows any more."""


@dataclass(eq=False)
class Request(Generic[AnySequence_co]):
    """One prompt, and the sequences that continue it; they run together, and the prompt is read once.

    Attributes:
        prompt: The prompt, as each member encodes it.
        sequences: The sequences, whose text grows while the request runs.
        options: How to generate; None where the sequences are given.
        failure: Why the engine dropped the request; None while it has not.
    """

    prompt: EncodedPrompt
    sequences: Sequence[AnySequence_co]
    options: GenerationOptions | None = None
    failure: BaseException | None = field(default=None, init=False)

    @property
    def ended(self) -> bool:
        """Whether all sequences have come to their end, or the engine dropped the request."""
        return self.failure is not None or not self.unfinished

    @property
    def unfinished(self) -> list[AnySequence_co]:
        """The sequences that have not ended."""
        return [sequence for sequence in self.sequences if not sequence.finished]
