"""The tokenizer's own encoding of a text that was generated token by token.

A fused distribution may choose tokens that the main model's tokenizer would not encode their text as.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import groupby

from deepen_llm.members.text.encoding import Draft, Prompt, TextEncoder
from deepen_llm.members.text.transcript import Transcript


class OwnEncoding:
    """The tokens appended to a sequence, encoded again by `script`.

    Args:
        encoder: The member's tokenizer.
        prompt: What the sequence begins with.
        surfaces: The surfaces of the member's tokens.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt, surfaces: Sequence[bytes | None]) -> None:
        self._encoder, self._surfaces = encoder, surfaces
        self._script, self._pending = Transcript(encoder, prompt), list[int]()

    def append(self, steps: Draft) -> None:
        """Append tokens; pieces of text are left out, since a context encodes them with the tokenizer already."""
        self._pending += (step for step in steps if isinstance(step, int))

    def script(self) -> Transcript | None:
        """A transcript of all that was appended, encoded by the tokenizer; None where it ends inside a character.

        Special tokens are kept, and so are tokens where the tokenizer's encoding of their text spells another text.
        """
        if self._unfinished():
            return None
        for special, run in groupby(self._pending, lambda token: self._surfaces[token] is None):
            tokens = list(run)
            fixed = self._encoder.fixed([*self._script.ids, *tokens])
            own = None if special else self._encoded(tokens)
            self._script = own or Transcript(self._encoder, fixed)
        self._pending = []
        return self._script.copy()

    def copy(self) -> OwnEncoding:
        """The same for a second sequence."""
        other = object.__new__(OwnEncoding)
        other._encoder, other._surfaces = self._encoder, self._surfaces
        other._script, other._pending = self._script.copy(), list(self._pending)
        return other

    def _unfinished(self) -> bool:
        """Whether the last bytes are the beginning of a character."""
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        utf8.decode(b"".join(self._surfaces[token] or b"" for token in self._pending))
        return bool(utf8.getstate()[0])

    def _encoded(self, tokens: Sequence[int]) -> Transcript | None:
        """The transcript with these tokens' text appended; None where its encoding does not spell that text."""
        text, script = b"".join(self._surfaces[token] or b"" for token in tokens), self._script.copy()
        try:
            script.append_text(text.decode())
        except UnicodeDecodeError:
            return None
        spelled = b""
        for token in reversed(script.ids):
            if len(spelled) >= len(text):
                break
            surface = self._surfaces[token]
            if surface is None:
                return None
            spelled = surface + spelled
        return script if spelled.endswith(text) else None
