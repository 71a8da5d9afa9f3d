"""The encoding that a tokenizer itself gives to a text whose tokens were chosen with others."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import groupby

from deepen_llm.members.text.encoding import Draft, Prompt, TextEncoder
from deepen_llm.members.text.transcript import Transcript


class OwnEncoding:
    """Keeps the tokens appended to a sequence since their text was last encoded, and encodes it when asked.

    Args:
        encoder: The member's tokenizer.
        prompt: What the sequence begins with.
        surfaces: The surfaces of the member's tokens.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt, surfaces: Sequence[bytes | None]) -> None:
        self._encoder, self._surfaces = encoder, surfaces
        self._script, self._waiting = Transcript(encoder, prompt), list[int]()

    def append(self, steps: Draft) -> None:
        """Append tokens; pieces of text, which have the tokenizer's own encoding anyway, are left out."""
        self._waiting += (step for step in steps if isinstance(step, int))

    def script(self) -> Transcript | None:
        """All that was appended, to go on from; None where it ends inside a character.

        Tokens stay as they are where they spell no text, or the tokenizer's encoding of their text spells another.
        """
        if self._unfinished():
            return None
        for special, run in groupby(self._waiting, lambda token: self._surfaces[token] is None):
            tokens = list(run)
            fixed = self._encoder.fixed([*self._script.ids, *tokens])
            own = None if special else self._encoded(tokens)
            self._script = own or Transcript(self._encoder, fixed)
        self._waiting = []
        return self._script.copy()

    def copy(self) -> OwnEncoding:
        """The same for a second sequence."""
        other = object.__new__(OwnEncoding)
        other._encoder, other._surfaces = self._encoder, self._surfaces
        other._script, other._waiting = self._script.copy(), list(self._waiting)
        return other

    def _unfinished(self) -> bool:
        """Whether the last bytes are the beginning of a character."""
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        utf8.decode(b"".join(self._surfaces[token] or b"" for token in self._waiting))
        return bool(utf8.getstate()[0])

    def _encoded(self, tokens: Sequence[int]) -> Transcript | None:
        """The text with these tokens' text behind it; None where its encoding does not spell them."""
        text, script = b"".join(self._surfaces[token] or b"" for token in tokens), self._script.copy()
        try:
            script.append_text(text.decode())
        except UnicodeDecodeError:
            return None
        spelled, place = b"", len(script.ids)
        while len(spelled) < len(text) and place:
            place -= 1
            surface = self._surfaces[script.ids[place]]
            if surface is None:
                return None
            spelled = surface + spelled
        return script if spelled.endswith(text) else None
