"""Grammars over a vocabulary, compiled by llguidance from surfaces as bytes."""

from __future__ import annotations

import threading
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from deepen_llm.errors import ConfigError
from deepen_llm.structure.closing import NoEnd
from deepen_llm.structure.endings import Ending, Endings
from deepen_llm.structure.guidance import SINGLE_BYTES, make_tokenizer, reason
from deepen_llm.structure.guide import Guide
from deepen_llm.structure.regions import Region
from deepen_llm.structure.spelling import Letters, Speller
from deepen_llm.vocabulary import Vocabulary

_END = len(SINGLE_BYTES)  # the id of the end of text

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Grammars:
    """Compiles grammars for one vocabulary.

    Args:
        vocabulary: The main model's vocabulary.

    Raises:
        ConfigError: The vocabulary has no end-of-text token, which ends an answer.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if not vocabulary.end_of_text:
            raise ConfigError(
                "expected a main model with an end-of-text token, which ends a structured answer, got one without",
                hint="set eos_token_id in its generation_config.json, or make another member the main model",
            )
        self.vocabulary = vocabulary
        spelled = [
            vocabulary.spellings.get(id_, "").encode() if surface is None else surface
            for id_, surface in enumerate(vocabulary.surfaces)
        ]
        unspelled = [id_ for id_, surface in enumerate(vocabulary.surfaces) if surface is None]
        self._tokens = make_tokenizer(spelled, unspelled, vocabulary.end_of_text)
        # The special tokens and single bytes, for the search of a shortest end.
        special = [spelled[id_] if id_ in vocabulary.special else b"" for id_ in range(vocabulary.size)]
        self._bytes = make_tokenizer([*special, *SINGLE_BYTES], unspelled, vocabulary.end_of_text)
        self._letters = Letters.of(vocabulary)
        self._speller = Speller(vocabulary)
        self._compiled = lru_cache(maxsize=64)(self._compile)

    def compile(self, lark: str, ends: tuple[str, ...] = ()) -> Grammar:
        """Compile a grammar in llguidance's Lark form.

        Args:
            lark: The grammar.
            ends: Short answers, the shortest first; special tokens by their spelling.

        Raises:
            ConfigError: It does not compile.
        """
        return self._compiled(lark, ends)

    def _compile(self, lark: str, ends: tuple[str, ...]) -> Grammar:
        from llguidance import LLMatcher

        matchers = [
            LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0)
            for tokenizer in (self._tokens, self._bytes)
        ]
        if matchers[0].is_error():
            raise ConfigError(
                f"the structure cannot be compiled: {reason(matchers[0].get_error())}",
                hint="correct the schema, or leave out what grammars cannot enforce; docs/structure.md lists it",
            )
        endings = Endings(self.vocabulary, self._letters, self._speller, lark, ends)
        return Grammar(self.vocabulary, matchers[0], matchers[1], endings)


class Grammar:
    """A compiled grammar; each answer gets its own guide.

    Args:
        vocabulary: The main model's vocabulary.
        tokens: A matcher at the grammar's start, over the vocabulary.
        spelled: A matcher at the grammar's start, over single bytes.
        endings: Finds short ends of answers.
    """

    def __init__(self, vocabulary: Vocabulary, tokens: LLMatcher, spelled: LLMatcher, endings: Endings) -> None:
        self._vocabulary = vocabulary
        self._tokens = tokens
        self._spelled = spelled
        self._endings = endings
        self._lock = threading.Lock()

    def guide(self) -> Guide:
        """Make a guide at the grammar's start.

        Raises:
            ConfigError: No end of an answer is found, for example because the vocabulary lacks a required character.
        """
        with self._lock:  # llguidance raises where two threads use a matcher
            tokens = self._tokens.deep_copy()
            spelled = self._spelled.deep_copy()
            ending = self._shortest
        return Guide(self._vocabulary, tokens, spelled, self._endings, ending)

    @cached_property
    def _shortest(self) -> Ending:
        """A short end of the whole answer."""
        try:
            return self._endings.find(self._spelled, Region.OUTSIDE, Ending())
        except NoEnd as none:
            behind = none.behind.decode(errors="replace")
            lacking = self._endings.lacking(self._spelled)
            cause = (
                f"it has no token for {lacking!r}" if lacking else f"the search got no further than {behind[-120:]!r}"
            )
            raise ConfigError(
                f"no short end of an answer of this structure is found, in the main model's tokens: {cause}",
                hint="make another member the main model, or leave the character out"
                if lacking
                else "make what follows there simpler: a pattern with fewer loops that overlap, or a smaller bound",
            ) from none


@lru_cache(maxsize=1024)
def shortest(lark: str) -> str:
    """Find a short answer of a grammar.

    Args:
        lark: A grammar in llguidance's Lark form, without special tokens.

    Raises:
        ConfigError: It does not compile, or no end of an answer is found.
    """
    return bytes(id_ for id_ in _byte_grammars().compile(lark).guide().closing if id_ < _END).decode()


@lru_cache(maxsize=1)
def _byte_grammars() -> Grammars:
    """Make grammars over a vocabulary of all bytes and an end of text."""
    vocabulary = Vocabulary(
        surfaces=(*SINGLE_BYTES, None),
        end_of_text=(_END,),
        special=frozenset([_END]),
        spellings={_END: "</s>"},
        tokenizer_size=_END + 1,
        ids={surface: id_ for id_, surface in enumerate(SINGLE_BYTES)},
        duplicates={},
        fingerprint="bytes",
    )
    return Grammars(vocabulary)
