"""Given sequences: the tokens of a continuation to score, several of which are read in one forward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.sequence import TokenSequence
from deepen_llm.engine.text import TextAssembler
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.outputs import Score, ScoredToken
from deepen_llm.vocabulary import Vocabulary

_AHEAD = 128  # tokens of one sequence read at once: a copy of its encoding is kept for each
_HELD = 2**25  # logits of one member kept at a time: 128 MiB


class GivenSequence(TokenSequence):
    """A sequence whose tokens are given, and scored.

    Args:
        vocabulary: The ensemble's vocabulary.
        ids: The token ids of the sequence in that vocabulary, at least one.
        unfinished: Bytes at the prompt's end that only the main model has read: the beginning of a character.
    """

    def __init__(self, vocabulary: Vocabulary, ids: Sequence[int], unfinished: bytes = b"") -> None:
        self._vocabulary, self._ids, self._unfinished = vocabulary, ids, unfinished
        self._scored: list[ScoredToken] = []

    @property
    def begun(self) -> bool:
        """See `TokenSequence`."""
        return bool(self._scored)

    @property
    def finished(self) -> bool:
        """See `TokenSequence`."""
        return len(self._scored) == len(self._ids)

    @property
    def token_limit(self) -> int:
        """See `TokenSequence`."""
        return len(self._ids)

    def boundaries(self, draft: Sequence[Token]) -> list[Boundary]:
        """See `TokenSequence`."""
        first = len(self._scored)
        return self._boundaries[first : first + len(draft) + 1]

    def end_at_limit(self, reached: bool) -> None:
        """See `TokenSequence`; has no effect, since it is checked before that a given sequence fits."""

    def next_tokens(self, count: int) -> list[Token]:
        """The next tokens that are not scored yet, at most ``count``."""
        return self._tokens[len(self._scored) :][:count]

    def draft(self, most: int) -> list[Token]:
        """Tokens to read at once, at most ``most``, without the last: no token after it is scored."""
        return self._tokens[len(self._scored) : -1][:most]

    def score_next(self, tokens: Sequence[ScoredToken]) -> None:
        """Append the scores of the next tokens."""
        self._scored += tokens

    def score(self) -> Score:
        """The scores so far; complete once `finished`."""
        return Score(tuple(self._scored))

    @cached_property
    def _pieces(self) -> list[tuple[str, bytes]]:
        """For each token, the characters that it completes, and the bytes of another begun."""
        text = TextAssembler()
        text.decode(self._unfinished)
        return text.preview([self._vocabulary.surfaces[id_] or b"" for id_ in self._ids])

    @cached_property
    def _tokens(self) -> list[Token]:
        return [Token(id_, piece) for id_, (piece, _) in zip(self._ids, self._pieces, strict=True)]

    @cached_property
    def _boundaries(self) -> list[Boundary]:
        """The boundary before each token."""
        text = TextAssembler()
        text.decode(self._unfinished)
        unfinished = [text.unfinished, *(rest for _, rest in self._pieces[:-1])]
        return [Boundary(rest, special=self._is_special(id_)) for id_, rest in zip(self._ids, unfinished, strict=True)]

    def _is_special(self, id_: int) -> bool:
        """Whether a token has no counterpart in other vocabularies: it is special, and ends no text."""
        return self._vocabulary.surfaces[id_] is None and id_ not in self._vocabulary.end_of_text


def given_drafts(contexts: Contexts, sequences: Sequence[TokenSequence]) -> list[list[Token]]:
    """For each given sequence, its next tokens, as many as all members can read at once; for others none."""
    if not any(isinstance(sequence, GivenSequence) for sequence in sequences):
        return [[] for _ in sequences]
    widest = max(len(member.vocabulary.surfaces) for member in contexts.ensemble.members)
    most = min(_AHEAD, _HELD // (widest * len(sequences)))
    drafts = [sequence.draft(most) if isinstance(sequence, GivenSequence) else [] for sequence in sequences]
    return [draft[:count] for draft, count in zip(drafts, contexts.readable(drafts), strict=True)]


def scored(vocabulary: Vocabulary, logits: Tensor, ids: Sequence[int]) -> list[ScoredToken]:
    """The scores of given tokens, by the fused distributions before them.

    Args:
        vocabulary: The ensemble's vocabulary.
        logits: Fused logits, ``[P, V_m]``.
        ids: The token at each position, ``[P]``.
    """
    chosen = logits.new_tensor(ids).long()[:, None]  # [P, 1]
    logprobs = logits.log_softmax(-1).gather(1, chosen)[:, 0].tolist()
    greedy = (logits.argmax(-1) == chosen[:, 0]).tolist()
    return [
        ScoredToken(id_, vocabulary.shown(id_), logprob, likeliest)
        for id_, logprob, likeliest in zip(ids, logprobs, greedy, strict=True)
    ]
