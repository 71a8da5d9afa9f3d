"""Tokens of an answer: log-probabilities and traces."""

from __future__ import annotations

from dataclasses import dataclass

from deepen_llm.fusion.search_step import SearchStep


@dataclass(frozen=True)
class Candidate:
    r"""A token with its probability in a distribution.

    Attributes:
        token: The id in the vocabulary of the distribution.
        text: The token for display (`Vocabulary.shown`).
        logprob: The natural logarithm of its probability.
    """

    token: int
    text: str
    logprob: float


@dataclass(frozen=True)
class TokenLogprob(Candidate):
    """A committed token in the fused distribution, before temperature and filters.

    Attributes:
        top: The likeliest tokens, as many as requested.
    """

    top: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class ScoredToken(Candidate):
    """A token of a given continuation in the fused distribution.

    Attributes:
        greedy: Whether it is the likeliest token, which greedy decoding would have chosen.
    """

    greedy: bool


@dataclass(frozen=True)
class Straddling:
    """A token of a member that reaches over the end of the text (fusion by surfaces).

    Attributes:
        text: Its surface as text.
        rest: The part of it after the end of the text.
        share: Its share of the member's evidence.
        back: The number of the member's tokens between its start and the end of the text.
    """

    text: str
    rest: str
    share: float
    back: int


@dataclass(frozen=True)
class MemberView:
    """One member's distribution at one step.

    Attributes:
        name: The member.
        weight: Its aggregation weight.
        top: Its likeliest tokens, in its own vocabulary; none where the gate was closed and it was not fused.
        straddling: What it expects by its readings at earlier tokens, the likeliest first.
        abstained: The share of its weight that it abstained from, where not all tokens for its last bytes were read.
    """

    name: str
    weight: float
    top: tuple[Candidate, ...]
    straddling: tuple[Straddling, ...] = ()
    abstained: float = 0.0


@dataclass(frozen=True)
class TokenTrace:
    """The trace of one token.

    Attributes:
        chosen: The committed token in the fused distribution.
        main_choice: The choice of the main model alone, in its own distribution.
        changed: Whether the two differ.
        members: Each member's distribution.
        fused: The likeliest fused tokens.
        reason: What changed and why, in words.
        text: The characters that it completed; none inside a character.
        main_model: Index of the main model among the members.
        moved_by: The member that moved the token away from the main model's choice: of those that give it a higher
            probability than the main model, the one whose probability times weight is largest. None where nothing
            changed, or no member gives it a higher probability.
        search_path: The steps of the search, its start first; empty where nothing is searched, as in a closed form.
    """

    chosen: Candidate
    main_choice: Candidate
    changed: bool
    members: tuple[MemberView, ...]
    fused: tuple[Candidate, ...]
    reason: str
    text: str
    main_model: int
    moved_by: str | None
    search_path: tuple[SearchStep, ...]
