"""One sequence of what a member has read, as its own tokenizer encodes the whole text."""

from __future__ import annotations

from deepen_llm.members.text.encoding import Prompt, Span, TextEncoder

_WINDOWS = (32, 128, 512)  # tokens at the end that are encoded again, before the whole text is
_AGREEMENT = 8  # consecutive tokens in which a window must agree with what was there, to be spliced in


class Transcript:
    """A prompt and the text appended to it.

    The ids always are the tokenizer's encoding of the whole text. To keep a step's cost from growing with the text,
    only a window at its end is encoded again and spliced in where it agrees with the ids that were there: tokens are
    decided by their neighborhood, and whatever a window's cut start disturbs lies before the agreement.

    Args:
        encoder: The member's tokenizer.
        prompt: What the sequence begins with.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt) -> None:
        self.ids = list(prompt.ids)
        self._encoder, self._prompt = encoder, prompt
        self._text = prompt.tail  # what ids[fixed:] encode, but for tokens that were appended behind it
        self._behind = b""  # what those spell
        self._spans: list[Span] | None = None  # of ids[fixed:], once they are known

    def copy(self) -> Transcript:
        """A second sequence that begins as this one."""
        other = Transcript(self._encoder, self._prompt)
        other.ids, other._text, other._behind = list(self.ids), self._text, self._behind
        other._spans = self._spans and list(self._spans)
        return other

    def ends_with(self, spelled: bytes) -> bool:
        """Whether tokens spell the end of what was appended, and of the prompt's end that is encoded with it.

        A space that the tokenizer puts before a text may be among what they spell, one that it drops is not.

        Args:
            spelled: Their surfaces.
        """
        text = self._text.rstrip() if self._encoder.whole_words else self._text
        end = (text[-len(spelled) :].encode() + self._behind[-len(spelled) :])[-len(spelled) :]
        return end.endswith(spelled) or b" " + end == spelled

    @property
    def dropped(self) -> bytes:
        """A space, where the text ends in white space that the tokenizer drops; the next word has it before itself."""
        return b" " if self._encoder.whole_words and self._text[-1:].isspace() and not self._behind else b""

    def append_token(self, id_: int, surface: bytes) -> None:
        """Append a token, which stays as it is.

        Args:
            id_: The token.
            surface: What it spells; nothing where it is special.
        """
        self.ids.append(id_)
        self._behind += surface

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
        """Encode the last ``window`` tokens' text again; False where that does not settle the matter."""
        start = self._cut(window)
        if start is None or self._spans is None:
            return False
        base = self._spans[start][0]
        fresh = self._encoder.encode_text(self._text[base:])
        spans = [(a + base, b + base) for a, b in fresh.spans or ()]
        first = self._prompt.fixed + start
        old = list(zip(self.ids[first:], self._spans[start:], strict=True))
        found = _agreement(old, list(zip(fresh.ids, spans, strict=True)))
        if found is None:
            return False
        here, there = found
        self.ids[first + here :] = fresh.ids[there:]
        self._spans[start + here :] = spans[there:]
        return True

    def _cut(self, window: int) -> int | None:
        """The place, at least ``window`` tokens back, of a token that begins with a character (or word) of its own."""
        spans = self._spans or []
        for place in range(len(spans) - window, 0, -1):
            if spans[place][0] >= spans[place - 1][1] and self._may_cut(spans[place][0]):
                return place
        return None

    def _may_cut(self, at: int) -> bool:
        """Whether what follows is encoded alike without what precedes: not inside numbers, which are read in groups."""
        before, after = self._text[at - 1], self._text[at : at + 1]
        if self._encoder.whole_words:
            return before.isspace()
        return not (before.isnumeric() and after.isnumeric())


Placed = tuple[int, Span]  # a token id and where it lies


def _agreement(old: list[Placed], fresh: list[Placed]) -> tuple[int, int] | None:
    """Places in both lists from where ``_AGREEMENT`` tokens are the same; None where there are none."""
    places = {fresh[place]: place for place in _begins(fresh)}
    for here in _begins(old):
        there = places.get(old[here])
        run = old[here : here + _AGREEMENT]
        if there is not None and len(run) == _AGREEMENT and run == fresh[there : there + _AGREEMENT]:
            return here, there
    return None


def _begins(tokens: list[Placed]) -> list[int]:
    """Places of tokens that begin their span: the bytes of one character, or of unknown ones, all have the same."""
    return [place for place, token in enumerate(tokens) if place == 0 or token[1] != tokens[place - 1][1]]
