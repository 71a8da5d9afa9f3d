"""One sequence of a context: its text, the draft after it, and the logits that are known."""

from __future__ import annotations

from torch import Tensor

from deepen_llm.members.local.slots import common_prefix
from deepen_llm.members.text.encoding import Draft, Prompt, TextEncoder, TextOrToken
from deepen_llm.members.text.rereading import OwnEncoding
from deepen_llm.members.text.transcript import Transcript
from deepen_llm.vocabulary import Vocabulary


class SequenceText:
    """A transcript, the last draft's boundaries, and logits by the number of tokens before them.

    Args:
        encoder: The member's tokenizer.
        prompt: What the sequence begins with.
        vocabulary: The member's vocabulary.
        back: For how many tokens before a boundary logits are kept, too.

    Attributes:
        reading: The token ids that the next forward reads and that logits are known of: the text, with a draft.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt, vocabulary: Vocabulary, back: int = 0) -> None:
        self._script, self._own = Transcript(encoder, prompt), OwnEncoding(encoder, prompt, vocabulary.surfaces)
        self._surfaces, self._tokens, self._back = vocabulary.surfaces, vocabulary.ids, back
        self._draft: list[tuple[TextOrToken, Transcript]] = []  # each step, and the text after it
        self._logits: dict[int, Tensor] = {}  # [V] each
        self._norms: dict[int, Tensor] = {}  # of those that `norm` has computed
        self.reading = list(self._script.ids)

    @property
    def ids(self) -> list[int]:
        """The text's token ids."""
        return self._script.ids

    def boundaries(self, draft: Draft, bound: int | None) -> list[int]:
        """See `Context.boundaries`, for one sequence.

        Args:
            draft: What may come next.
            bound: A number of tokens above which the model encodes all positions in another way.
        """
        self._follow(draft)
        ids, lengths = self.ids, [len(self.ids)]
        for _, script in self._draft:
            crosses = bound is not None and lengths[0] <= bound < len(script.ids)
            if script.ids[: lengths[-1]] != ids or crosses:
                break
            ids = script.ids
            lengths.append(len(ids))
        self._settle(ids, lengths[0])
        return lengths

    def added(self, draft: Draft) -> list[int] | None:
        """See `Context.added`, for one sequence."""
        lengths = self.boundaries(draft, None)
        if len(lengths) <= len(draft):
            return None
        return self.reading[lengths[-2] :] if draft else []

    def knows(self, length: int) -> bool:
        """Whether the logits after so many tokens are known."""
        return length in self._logits

    def known(self, length: int) -> Tensor:
        """The logits after so many tokens, ``[V]``."""
        return self._logits[length]

    def norm(self, length: int) -> Tensor:
        """The logarithm of the sum of their exponentials; a tensor without dimensions."""
        if length not in self._norms:
            self._norms[length] = self._logits[length].logsumexp(-1)
        return self._norms[length]

    def learn(self, length: int, logits: Tensor, norm: Tensor | None = None) -> None:
        """Keep the logits after so many tokens, ``[V]``, and their `norm` where it is known."""
        self._logits[length] = logits
        self._norms.pop(length, None)
        if norm is not None:
            self._norms[length] = norm

    def trail(self, boundary: int) -> list[int]:
        """The last tokens before a boundary, the newest first: as many as spell the end of the text.

        Args:
            boundary: The index of one that `boundaries` returned.
        """
        script = self._at(boundary)
        trail, spelled = list[int](), b""
        for token in script.ids[: -self._back - 1 : -1]:
            surface = self._surfaces[token]
            if surface is None or len(trail) + 1 == len(script.ids) or not script.ends_with(surface + spelled):
                break
            spelled = surface + spelled
            trail.append(token)
        return trail

    def dropped(self, boundary: int) -> bytes:
        """The bytes at the end of the text before a boundary that the tokenizer drops, and so no token spells.

        Args:
            boundary: The index of one that `boundaries` returned.
        """
        return self._at(boundary).dropped

    def reread(self) -> None:
        """See `Context.reread`."""
        own = self._own.script()
        if own is None:
            self._join()
        elif len(own.ids) <= len(self.ids):
            self._script, self._draft = own, []

    def append(self, steps: Draft) -> None:
        """Append steps; those that the draft begins with are encoded already."""
        self._own.append(steps)
        for step in steps:
            if self._draft and self._draft[0][0] == step:
                self._script = self._draft.pop(0)[1]
            else:
                self._draft = []
                self._append_step(self._script, step)

    def copy(self) -> SequenceText:
        """A second sequence that begins as this one."""
        other = object.__new__(SequenceText)
        other._script, other._own, other._draft = self._script.copy(), self._own.copy(), []
        other._surfaces, other._tokens, other._back = self._surfaces, self._tokens, self._back
        other._logits = dict(self._logits)
        if self._back:  # a copy of a tensor's part, since the part would keep all of the tensor in memory
            other._logits = {length: logits.clone() for length, logits in self._logits.items()}
        other._norms, other.reading = dict(self._norms), self.reading
        return other

    def _join(self) -> None:
        """Replace the last tokens by one with the same surface, where known logits show that it is likelier."""
        ids, spelled, log_p = self.ids, b"", 0.0
        for length in range(len(ids) - 1, max(0, len(ids) - 1 - self._back), -1):
            surface = self._surfaces[ids[length]]
            if surface is None or not self.knows(length):
                return
            spelled, logits, norm = surface + spelled, self.known(length), float(self.norm(length))
            log_p += float(logits[ids[length]]) - norm
            token = self._tokens.get(spelled)
            if token is not None and float(logits[token]) - norm > log_p:
                self._script.ids, self._draft = [*ids[:length], token], []
                return

    def _at(self, boundary: int) -> Transcript:
        """The text at a boundary that `boundaries` returned."""
        return self._draft[boundary - 1][1] if boundary else self._script

    def _follow(self, draft: Draft) -> None:
        """Encode the text after each step of a draft; the first steps that the last draft had too are kept."""
        for i, step in enumerate(draft):
            if i < len(self._draft) and self._draft[i][0] == step:
                continue
            del self._draft[i:]
            script = (self._draft[-1][1] if self._draft else self._script).copy()
            self._append_step(script, step)
            self._draft.append((step, script))
        del self._draft[len(draft) :]

    def _settle(self, ids: list[int], first: int) -> None:
        """Read these ids next; drop the logits after other ids, and those further back than ``back`` allows."""
        common = common_prefix(self.reading, ids)
        kept = range(first - self._back, common + 1)
        self._logits = {length: logits for length, logits in self._logits.items() if length in kept}
        self._norms = {length: norm for length, norm in self._norms.items() if length in kept}
        self.reading = list(ids)

    def _append_step(self, script: Transcript, step: TextOrToken) -> None:
        if isinstance(step, int):
            script.append_token(step, self._surfaces[step] or b"")
        else:
            script.append_text(step)
