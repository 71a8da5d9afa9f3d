"""Encoding with a member's tokenizer: prompts with special tokens, and plain text in the middle of one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import models
from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import PromptError
from deepen_llm.vocabulary.kinds import mistral_model

Span = tuple[int, int]
"""The first character of a token in the text, and the one after its last."""

TOKENIZER_LOCK = threading.Lock()  # transformers changes a tokenizer's state during a call
LEADS = ("", "\n", ".", "a")
"""Texts that are put before a text, so that the tokenizer encodes it as in the middle of one."""
_PROBE = "the b"  # two ways of encoding are compared on it


@dataclass(frozen=True)
class Encoded:
    """Token ids and their spans in the text; None for the spans where the tokenizer does not give them."""

    ids: list[int]
    spans: list[Span] | None


@dataclass(frozen=True)
class Prompt:
    """An encoded prompt, and how text that follows it is encoded.

    Attributes:
        ids: Its token ids.
        fixed: How many of them never change: all up to the last special token.
        tail: The text of the other ids; it is encoded again together with the text that follows.
        leads: Texts to put before the tail, so that the tokenizer encodes it as after the fixed ids.
    """

    ids: tuple[int, ...]
    fixed: int
    tail: str
    leads: tuple[str, ...]


EncodedPrompt = Sequence[Prompt]
"""One prompt, as each member encodes it."""

TextOrToken = str | int
"""What is appended to a sequence: text (special tokens in it are plain text), or a token of the member's vocabulary."""

Draft = Sequence[TextOrToken]
"""What may come next in a sequence, step by step; each step's end is a boundary, and so is the beginning."""


class TextEncoder:
    """Encodes text with one tokenizer; safe to call from many threads.

    Args:
        tokenizer: The member's tokenizer.
        special: Its special tokens' ids.
        surfaces: Its tokens' surfaces, of all ids that the model can read.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, special: frozenset[int], surfaces: tuple[bytes | None, ...]
    ) -> None:
        self._tokenizer, self._special, self._surfaces = tokenizer, special, surfaces
        self._readable = len(surfaces)  # larger ids are of tokens that the tokenizer has and the model has not
        self.whole_words = _is_word_piece(tokenizer)  # a part of a word is encoded otherwise than in the word
        self._control = special - {tokenizer.unk_token_id}
        self._prefix = self._find_prefix()

    def encode_with_special(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens are recognized, with none added.

        Raises:
            PromptError: It has a special token that the model has no embedding of.
        """
        whole = self._encode(text, split_special_tokens=False)
        start = self._unreadable(whole)
        if start is None:
            return self.readable(whole.ids)
        left, rest = self.encode_with_special(text[: start + 1]), text[start + 1 :]
        for lead in LEADS[1:]:
            head, with_lead = self.encode_text(lead).ids, self.encode_with_special(lead + rest)
            if with_lead[: len(head)] == head:
                return left + with_lead[len(head) :]
        return left + self.encode_with_special(rest)

    def encode_text(self, text: str) -> Encoded:
        """Encode text in which special tokens, spelled out, are plain characters.

        Raises:
            PromptError: It has a token that the model has no embedding of, and no other encoding.
        """
        whole = self._encode(text, split_special_tokens=True)
        spans = whole.spans or ()
        controls = (a for id_, (a, b) in zip(whole.ids, spans, strict=False) if id_ in self._control and b - a > 1)
        start = next(controls, self._unreadable(whole))
        if start is None:
            self.readable(whole.ids)
            return whole
        # Unigram models emit special tokens also here, and others emit added tokens that the model does not have:
        # encode such a token's first character and the rest apart from each other.
        cut = start + 1
        left, right = self.encode_text(text[:cut]), self.encode_after(LEADS[1:], text[cut:])
        joined = [*(left.spans or ()), *((a + cut, b + cut) for a, b in right.spans or ())]
        return Encoded(left.ids + right.ids, joined)

    def encode_after(self, leads: tuple[str, ...], text: str) -> Encoded:
        """`encode_text`, as the text is encoded after the first of the leads that shares no token with it."""
        for lead in leads:
            head, whole = self.encode_text(lead).ids if lead else [], self.encode_text(lead + text)
            if whole.ids[: len(head)] == head:
                shift = len(lead)
                spans = whole.spans and [(a - shift, b - shift) for a, b in whole.spans[len(head) :]]
                return Encoded(whole.ids[len(head) :], spans)
        return self.encode_text(text)

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, special tokens in them as plain characters; ids that the model lacks are not refused."""
        if not texts or is_mistral_common(self._tokenizer):
            return [self._encode(text, split_special_tokens=True).ids for text in texts]
        with TOKENIZER_LOCK:
            out = self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids: list[list[int]] = out["input_ids"]
        return ids

    def readable(self, ids: Sequence[int]) -> list[int]:
        """The ids themselves, once it is checked that the model has an embedding of each.

        Raises:
            PromptError: The model has no embedding of an id.
        """
        if ids and (largest := max(ids)) >= self._readable:
            token = self._tokenizer.convert_ids_to_tokens(largest)
            raise PromptError(
                f"a text has the token {token!r} (id {largest}), which was added to the tokenizer alone: the model has "
                f"{self._readable} tokens",
                hint="leave the token out of prompt and chat template, or resize and train the model with it "
                "(model.resize_token_embeddings)",
            )
        return list(ids)

    def prompt(self, text: str) -> Prompt:
        """Encode a plain prompt, with the special tokens that the tokenizer puts before a text, but none after it."""
        ids = self.encode_with_special(text)
        prefix = [] if ids[: len(self._prefix)] == self._prefix else self._prefix
        return self.continuable(prefix + ids, text, len(prefix))

    def continuable(self, ids: list[int], text: str, added: int) -> Prompt:
        """The prompt that these ids are, so that text which follows is encoded together with its tail.

        Args:
            ids: The token ids.
            text: The text that they encode.
            added: How many of the first ids encode none of it.
        """
        # Where the text spells out the unknown token, that fixes the ids before it; else it encodes an unknown word.
        spells_unknown = str(self._tokenizer.unk_token) in text
        for fixing in (self._special, self._control) if spells_unknown else (self._control, self._special):
            if (prompt := self._continued(ids, text, added, fixing)) is not None:
                return prompt
        return self.fixed(ids)

    def _continued(self, ids: list[int], text: str, added: int, fixing: frozenset[int]) -> Prompt | None:
        """`continuable`, with all ids fixed up to the last one in ``fixing``.

        None where the tail alone would be encoded otherwise, or a text that follows it would be.
        """
        fixed = max((i + 1 for i, id_ in enumerate(ids) if i < added or id_ in fixing), default=0)
        tail = text if fixed <= added else self._tail(ids, fixed, text)
        if tail is None:
            return None
        probed = ids[:added] + self.encode_with_special(text + _PROBE)
        for leads in (LEADS[:1], LEADS[1:]):
            whole = self.encode_after(leads, tail).ids == ids[fixed:]
            if whole and self.encode_after(leads, tail + _PROBE).ids == probed[fixed:]:
                return Prompt(tuple(ids), fixed, tail, leads)
        return None

    def fixed(self, ids: list[int]) -> Prompt:
        """A prompt of ids that never change; text that follows is encoded apart from them."""
        return Prompt(tuple(ids), len(ids), "", LEADS[1:])

    def extended(self, ids: list[int], text: str) -> Prompt:
        """A prompt of ids that never change, followed by plain text."""
        leads = LEADS[1:]
        return Prompt((*ids, *self.encode_after(leads, text).ids), len(ids), text, leads)

    def last_tokens(self, prompt: Prompt, tokens: int) -> Prompt:
        """The last so many tokens of a prompt."""
        cut = len(prompt.ids) - tokens
        if cut <= 0:
            return prompt
        ids = list(prompt.ids[cut:])
        if cut <= prompt.fixed:
            return Prompt(tuple(ids), prompt.fixed - cut, prompt.tail, prompt.leads)
        text = b"".join(self._surfaces[id_] or b"" for id_ in ids).decode(errors="replace")
        return self.continuable(ids, text, 0)

    def _unreadable(self, encoded: Encoded) -> int | None:
        """The first character of a token that the model has no embedding of, if its characters can be encoded apart."""
        spans = zip(encoded.ids, encoded.spans or (), strict=False)
        unreadable = (span for id_, span in spans if id_ >= self._readable and id_ not in self._special)
        return next((start for start, end in unreadable if end - start > 1), None)

    def _tail(self, ids: list[int], fixed: int, text: str) -> str | None:
        """The end of ``text`` that ``ids[fixed:]`` encode: their surfaces, or the text after the last fixed token."""
        spelled = b"".join(self._surfaces[id_] or b"" for id_ in ids[fixed:]).decode(errors="replace")
        last = self._tokenizer.convert_ids_to_tokens(ids[fixed - 1])
        after_last = text.rpartition(last)[2] if last and last in text else text
        return next((tail for tail in (spelled, spelled[1:], after_last) if text.endswith(tail)), None)

    def _find_prefix(self) -> list[int]:
        with TOKENIZER_LOCK:
            whole = self.readable(self._tokenizer.encode(_PROBE, add_special_tokens=True))
        plain = self.encode_with_special(_PROBE)
        starts = range(len(whole) - len(plain) + 1)
        return next((whole[:start] for start in starts if whole[start : start + len(plain)] == plain), [])

    def _encode(self, text: str, *, split_special_tokens: bool) -> Encoded:
        options: dict[str, Any] = {"add_special_tokens": False}
        if not is_mistral_common(self._tokenizer):  # which never recognizes special tokens, nor takes the option
            options |= {"split_special_tokens": split_special_tokens, "verbose": False}
        if getattr(self._tokenizer, "is_fast", False):
            options["return_offsets_mapping"] = True
        with TOKENIZER_LOCK:
            out = self._tokenizer(text, **options)
        spans = [(int(a), int(b)) for a, b in out["offset_mapping"]] if "offset_mapping" in out else None
        return Encoded(list(out["input_ids"]), spans)


def is_mistral_common(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it is mistral-common's own tokenizer, which takes no options and sees no special tokens in a text."""
    return mistral_model(tokenizer) is not None


def _is_word_piece(tokenizer: PreTrainedTokenizerBase) -> bool:
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    return isinstance(model, models.WordPiece)
