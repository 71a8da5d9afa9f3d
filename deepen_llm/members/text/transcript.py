"""The text of one sequence, as the member's own tokenizer encodes it."""

from __future__ import annotations

from deepen_llm.members.text.encoding import Prompt, Span, TextEncoder

_WINDOWS = (32, 128, 512)  # numbers of last tokens that are encoded again, tried in turn before the whole text
_AGREEMENT = 8  # consecutive tokens of a window that must equal the ids before, for the window to be used


class Transcript:
    """A prompt and the text appended to it.

    The ids always are the tokenizer's encoding of the whole text. So that a step's cost does not grow with the text,
    only a window at its end is encoded again, and replaces the ids from where it agrees with them. A tokenizer decides
    tokens by the text around them, so the cut can change tokens before the agreement only.

    Attributes:
        ids: The token ids.

    Args:
        encoder: The member's tokenizer.
        prompt: What the sequence begins with.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt) -> None:
        self.ids = list(prompt.ids)
        self._encoder, self._prompt = encoder, prompt
        self._text = prompt.tail  # the text of ids[fixed:], without tokens that were appended by their ids
        self._appended = b""  # the bytes that those tokens spell
        self._spans: list[Span] | None = None  # of ids[fixed:]; None until text is appended

    def copy(self) -> Transcript:
        """A second sequence that begins as this one."""
        other = Transcript(self._encoder, self._prompt)
        other.ids, other._text, other._appended = list(self.ids), self._text, self._appended
        other._spans = self._spans and list(self._spans)
        return other

    def ends_with(self, spelled: bytes) -> bool:
        """Whether the text, from the prompt's tail on, ends with these bytes.

        A space that the tokenizer puts before a text counts as part of it; white space that it drops at the end does
        not.

        Args:
            spelled: The surfaces of tokens, joined.
        """
        text = self._text.rstrip() if self._encoder.whole_words else self._text
        end = (text[-len(spelled) :].encode() + self._appended[-len(spelled) :])[-len(spelled) :]
        return end.endswith(spelled) or b" " + end == spelled

    @property
    def dropped(self) -> bytes:
        """A space where the text ends in white space that the tokenizer writes before the next word; else empty."""
        return b" " if self._encoder.whole_words and self._text[-1:].isspace() and not self._appended else b""

    def append_token(self, id_: int, surface: bytes) -> None:
        """Append a token, which is not encoded again.

        Args:
            id_: The token.
            surface: The bytes that it spells; empty for a special token.
        """
        self.ids.append(id_)
        self._appended += surface

    def append_text(self, piece: str) -> None:
        """Append a piece of text; the last ids may change."""
        if not piece:
            return
        self._text += piece
        if not any(self._splice(window) for window in _WINDOWS):
            whole = self._encoder.encode_after(self._prompt.leads, self._text)
            self.ids[self._prompt.fixed :] = whole.ids
            self._spans = whole.spans

    def _splice(self, window: int) -> bool:
        """Encode the text of the last ``window`` tokens again; False where no agreement is found."""
        start = self._cut(window)
        if start is None or self._spans is None:
            return False
        base = self._spans[start][0]
        fresh = self._encoder.encode_text(self._text[base:])
        spans = [(a + base, b + base) for a, b in fresh.spans or ()]
        first = self._prompt.fixed + start
        old = list(zip(self.ids[first:], self._spans[start:], strict=True))
        agreement = _agreement(old, list(zip(fresh.ids, spans, strict=True)))
        if agreement is None:
            return False
        in_old, in_fresh = agreement
        self.ids[first + in_old :] = fresh.ids[in_fresh:]
        self._spans[start + in_old :] = spans[in_fresh:]
        return True

    def _cut(self, window: int) -> int | None:
        """The index of a token, at least ``window`` tokens back, before which the text may be cut; None for none."""
        spans = self._spans or []
        for i in range(len(spans) - window, 0, -1):
            if spans[i][0] >= spans[i - 1][1] and self._may_cut(spans[i][0]):
                return i
        return None

    def _may_cut(self, start: int) -> bool:
        """Whether a text may be cut before a character: between words for WordPiece, else outside numbers."""
        before, after = self._text[start - 1], self._text[start : start + 1]
        if self._encoder.whole_words:
            return before.isspace()
        return not (before.isnumeric() and after.isnumeric())


SpannedToken = tuple[int, Span]  # a token id and its span


def _agreement(old: list[SpannedToken], fresh: list[SpannedToken]) -> tuple[int, int] | None:
    """Indices in both lists from which ``_AGREEMENT`` tokens are the same; None where there are none."""
    indices = {fresh[i]: i for i in _starts(fresh)}
    for in_old in _starts(old):
        in_fresh = indices.get(old[in_old])
        run = old[in_old : in_old + _AGREEMENT]
        if in_fresh is not None and len(run) == _AGREEMENT and run == fresh[in_fresh : in_fresh + _AGREEMENT]:
            return in_old, in_fresh
    return None


def _starts(tokens: list[SpannedToken]) -> list[int]:
    """Indices of tokens that are the first with their span: byte tokens of one character all have the same span."""
    return [i for i, token in enumerate(tokens) if i == 0 or token[1] != tokens[i - 1][1]]
