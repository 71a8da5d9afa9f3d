"""The encoding that a tokenizer itself gives to a text whose tokens were chosen with others."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.members.base import Draft
from deepen_llm.members.encoding import Prompt, TextEncoder
from deepen_llm.members.transcript import Transcript


class OwnEncoding:
    """Follows the tokens that a row hears, and encodes their text when asked.

    Args:
        encoder: The member's tokenizer.
        prompt: What the row begins with.
        surfaces: The surfaces of the member's tokens.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt, surfaces: Sequence[bytes | None]) -> None:
        self._encoder, self._surfaces = encoder, surfaces
        self._script, self._waiting = Transcript(encoder, prompt), list[int]()

    def hear(self, steps: Draft) -> None:
        """Hear what follows; pieces of text have the tokenizer's own encoding anyway."""
        self._waiting += (step for step in steps if isinstance(step, int))

    def ids(self) -> list[int] | None:
        """Token ids of all that was heard; None where it ends inside a character, or the encoding loses bytes."""
        script, text = self._script.copy(), b""
        for token in self._waiting:
            surface = self._surfaces[token]
            if surface is not None:
                text += surface
                continue
            if not self._heard(script, text):
                return None
            script = Transcript(self._encoder, self._encoder.closed([*script.ids, token]))
            text = b""
        if not self._heard(script, text):
            return None
        self._script, self._waiting = script, []
        return list(script.ids)

    def copy(self) -> OwnEncoding:
        """The same for a second row."""
        other = object.__new__(OwnEncoding)
        other._encoder, other._surfaces = self._encoder, self._surfaces
        other._script, other._waiting = self._script.copy(), list(self._waiting)
        return other

    def _heard(self, script: Transcript, text: bytes) -> bool:
        """Append text; False where it is no whole text, or its tokens do not spell it."""
        try:
            script.append_text(text.decode())
        except UnicodeDecodeError:
            return False
        spelled, place = b"", len(script.ids)
        while len(spelled) < len(text) and place:
            place -= 1
            surface = self._surfaces[script.ids[place]]
            if surface is None:
                return False
            spelled = surface + spelled
        return spelled.endswith(text)
