"""Stop strings and stop tokens of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from typing_extensions import Self

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.errors import ConfigError
from deepen_llm.vocabulary import Vocabulary

_FIRST_MARK = 0xD800  # surrogates, which no text contains


@dataclass(frozen=True)
class Stops:
    """The stop strings and stop tokens of an answer.

    Attributes:
        strings: The text ends before the one that is complete first. A string that spells a special token is there
            twice, the second time with a single character, the token's mark, in place of the special token.
        marks: The marks, by the tokens' ids.
        tokens: Ids of further tokens before which the text ends.
    """

    strings: tuple[str, ...] = ()
    marks: Mapping[int, str] = field(default_factory=dict)
    tokens: frozenset[int] = frozenset()

    def special(self, vocabulary: Vocabulary) -> frozenset[int]:
        """Special tokens, but for the end of text, that stop an answer or are part of a stop string."""
        ids = self.tokens.union(self.marks).difference(vocabulary.end_of_text)
        return frozenset(id_ for id_ in ids if vocabulary.surfaces[id_] is None)

    @classmethod
    def of(cls, options: GenerationOptions, vocabulary: Vocabulary) -> Self:
        """The stops in generation options.

        Args:
            options: How to generate.
            vocabulary: The main model's vocabulary.

        Raises:
            ConfigError: An id in ``stop_token_ids`` is none of the vocabulary's.
        """
        unknown = [id_ for id_ in options.stop_token_ids if id_ >= vocabulary.tokenizer_size]
        if unknown:
            raise ConfigError(
                f"stop_token_ids={list(options.stop_token_ids)}: the main model has no token {unknown[0]}, its ids are "
                f"0 to {vocabulary.tokenizer_size - 1}",
                hint="give ids of the main model's vocabulary, or the text that ends the answer as stop",
            )
        named = {
            token: id_
            for id_, token in sorted(vocabulary.spellings.items())
            if any(token in stop for stop in options.stop)
        }
        marks = {token: chr(_FIRST_MARK + index) for index, token in enumerate(named)}
        marked = (_marked(stop, marks) for stop in options.stop)
        return cls(
            tuple(dict.fromkeys([*options.stop, *marked])),
            {named[token]: mark for token, mark in marks.items()},
            frozenset(options.stop_token_ids),
        )


def _marked(stop: str, marks: Mapping[str, str]) -> str:
    """A stop string with marks in place of the special tokens that it spells; of several that match, the longest."""
    if not marks:
        return stop
    longest_first = sorted(marks, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda match: marks[match[0]], stop)
