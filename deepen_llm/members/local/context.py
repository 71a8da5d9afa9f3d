"""What a local model has read: rows of text, and logits at their boundaries."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import override

from deepen_llm.errors import LogitsError
from deepen_llm.fusion.past import Trail
from deepen_llm.members.base import Context, Reading
from deepen_llm.members.local.model import CausalModel
from deepen_llm.members.local.row_text import RowText
from deepen_llm.members.local.slots import SlotCache
from deepen_llm.members.local.steps import FixedSteps
from deepen_llm.members.text.encoding import Draft, Prompt, TextEncoder
from deepen_llm.vocabulary import Vocabulary


class LogitsMemory(Protocol):
    """Logits by the tokens before them, for a member whose texts come again."""

    def recall(self, ids: Sequence[int]) -> Tensor | None:
        """The logits after these token ids, ``[V_i]``; None where they are not known."""

    def keep(self, ids: Sequence[int], logits: Tensor) -> Tensor:
        """Keep logits ``[V_i]``; returns them as `recall` will."""


class LocalContext(Context):
    """The part that does not depend on how the model keeps what it has read.

    Args:
        name: The member's name, for messages.
        model: The model.
        vocabulary: Its vocabulary.
        encoder: Its tokenizer.
        prompts: One per row.
        back: See `Member.open`.
        recording: Where logits are kept for texts that come again, if anywhere.

    Attributes:
        rows: The rows' texts, and the logits that are known of them.
        back: See `Member.open`.
    """

    def __init__(
        self,
        name: str,
        model: CausalModel,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        prompts: Sequence[Prompt],
        back: int = 0,
        recording: LogitsMemory | None = None,
    ) -> None:
        self._name, self._model, self._vocabulary, self._recording = name, model, vocabulary, recording
        self.rows = [RowText(encoder, prompt, vocabulary, back) for prompt in prompts]
        self.back = back
        self._unchecked: list[tuple[Tensor, list[tuple[int, int]]]] = []  # tops of logits, and their rows and lengths

    @override
    def boundaries(self, drafts: Sequence[Draft]) -> list[list[int]]:
        if not self._model.traits.reads_ahead:
            drafts = [()] * len(self.rows)
        bound = self._model.traits.rescales_at
        return [row.boundaries(draft, bound) for row, draft in zip(self.rows, drafts, strict=True)]

    @override
    def added(self, drafts: Sequence[Draft]) -> list[list[int] | None]:
        return [row.added(draft) for row, draft in zip(self.rows, drafts, strict=True)]

    @torch.inference_mode()
    @override
    def read(self, drafts: Sequence[Draft], *, ends_only: bool = False) -> Reading:
        lengths = self.boundaries(drafts)
        lengths = [wanted[-1:] for wanted in lengths] if ends_only else lengths
        asked = [(row, length) for row, wanted in enumerate(lengths) for length in wanted]
        passed = self._passed(lengths) if self.back and not ends_only else []
        before = [(row, length - k) for (row, length), one in zip(asked, passed, strict=False) for k, _ in one]
        fresh = [place for place in sorted({*asked, *before}) if not self._knows(*place)]  # row by row
        logits = self._fresh(fresh) if fresh else torch.empty(0)
        self._learn(fresh, logits, lengths)
        if fresh != asked:
            logits = torch.stack([self.rows[row].known(length) for row, length in asked])
        dropped = [self.rows[row].dropped(place) for row, wanted in enumerate(lengths) for place in range(len(wanted))]
        trails = [
            Trail(
                [token for _, token in one],
                [self.rows[row].known(length - k) for k, _ in one],
                [self.rows[row].norm(length - k) for k, _ in one],
                behind,
            )
            for (row, length), one, behind in zip(asked, passed, dropped, strict=False)
        ]
        return Reading(logits, lengths, trails)

    @override
    def check(self) -> None:
        unchecked, self._unchecked = self._unchecked, []
        for tops, places in unchecked:  # a top is NaN where any logit is
            for (row, length), good in zip(places, tops.isfinite().tolist(), strict=True):
                if not good:
                    raise LogitsError(
                        f"member {self._name} gave logits that are no distribution (NaN, +inf or all -inf) "
                        f"after token {length} of row {row}",
                        hint="load it with dtype='float32' or 'bfloat16', and try its weights with transformers",
                    )

    @override
    def append(self, steps: Sequence[Draft]) -> None:
        for row, added in zip(self.rows, steps, strict=True):
            row.append(added)

    @override
    def select(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row].copy() for row in rows]

    @override
    def join(self, other: Context) -> None:
        assert isinstance(other, LocalContext)  # noqa: S101 - a context of the same member, by contract
        self.rows += other.rows
        self.back = max(self.back, other.back)  # of the rows that are read furthest back

    @override
    def reread(self, rows: Sequence[int]) -> None:
        for row in rows:
            self.rows[row].reread()

    @override
    def close(self) -> None:
        self.select([])

    @property
    @override
    def ids(self) -> list[list[int]]:
        return [row.ids for row in self.rows]

    def _passed(self, lengths: Sequence[Sequence[int]]) -> list[list[tuple[int, int]]]:
        """The last tokens before each place, the newest first, and how many tokens back they begin.

        None begin where the model encodes positions in another way than at the place.
        """
        places = [
            (row, boundary, length) for row, wanted in enumerate(lengths) for boundary, length in enumerate(wanted)
        ]
        bound = self._model.traits.rescales_at
        first = [bound if bound is not None and length > bound else -1 for *_, length in places]
        return [
            [(k, token) for k, token in enumerate(self.rows[row].trail(boundary), 1) if length - k > low]
            for (row, boundary, length), low in zip(places, first, strict=True)
        ]

    def _learn(self, fresh: Sequence[tuple[int, int]], logits: Tensor, lengths: Sequence[Sequence[int]]) -> None:
        """Keep logits for what comes; what is forgotten at the same step is kept in one tensor, and nothing else in it.

        Args:
            fresh: Pairs of a row and a number of tokens, as many as there are ``logits``.
            logits: Their logits.
            lengths: See `Reading`; what is kept of drafts is forgotten at any step.
        """
        groups = defaultdict[int, list[int]](list)
        for place, (row, length) in enumerate(fresh if self.back else ()):
            groups[place if len(lengths[row]) > 1 else length - lengths[row][-1]].append(place)
        norms = logits.logsumexp(-1) if groups else None
        for group in groups.values() if norms is not None else [range(len(fresh))]:
            part = logits[group] if len(groups) > 1 else logits
            for one, place in zip(part, group, strict=True):
                row, length = fresh[place]
                self.rows[row].learn(length, one, None if norms is None else norms[place])

    def _knows(self, row: int, length: int) -> bool:
        """Whether a row knows the logits after so many tokens, or learns them from the recording."""
        one = self.rows[row]
        if self._recording is not None and not one.knows(length):
            found = self._recording.recall(one.reading[:length])
            if found is not None:
                one.learn(length, found.to(self._model.device))
        return one.knows(length)

    def _fresh(self, places: list[tuple[int, int]]) -> Tensor:
        """Logits at pairs of a row and a number of tokens, fp32 ``[P, V_i]``."""
        logits = self._forward(places).float()[:, : self._vocabulary.size]
        logits[:, self._vocabulary.tokenizer_size :] = -torch.inf
        self._unchecked.append((logits.amax(-1), places))
        if self._recording is not None:
            read = [self.rows[row].reading[:length] for row, length in places]
            kept = [self._recording.keep(ids, one) for ids, one in zip(read, logits, strict=True)]
            return torch.stack(kept).to(logits.device)
        return logits

    @abstractmethod
    def _forward(self, places: list[tuple[int, int]]) -> Tensor:
        """Read the rows as far as these places, pairs of a row and a number of its tokens, in rising order.

        Returns:
            Logits there, ``[P, V_i]``.
        """


class CachedContext(LocalContext):
    """Key-value caches that are rolled back and extended; each forward reads what is new.

    Args:
        shared: Whether all rows lie in one cache, or each in its own (where attention counts slots, as sliding windows
            do, another row's dead slots would shorten a row's window).
        arguments: As `LocalContext` takes them.

    Attributes:
        caches: The caches: one for all rows, or one for each.
    """

    def __init__(self, shared: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        count = len(self.rows)
        self._shared, self._bound = shared, self._model.traits.rescales_at
        self.caches = [SlotCache(count)] if shared else [SlotCache(1) for _ in range(count)]
        self._steps = FixedSteps(self._model) if shared and self._model.fixed_steps else None

    @override
    def select(self, rows: Sequence[int]) -> None:
        super().select(rows)
        if self._shared:
            self.caches[0].select(rows)
        else:
            self.caches = [self.caches[row].copy() for row in rows]

    @override
    def join(self, other: Context) -> None:
        super().join(other)
        assert isinstance(other, CachedContext)  # noqa: S101 - see above
        if self._shared:
            self.caches[0].join(other.caches[0])
        else:
            self.caches += other.caches

    def _forward(self, places: list[tuple[int, int]]) -> Tensor:
        if self._shared:
            return self._extend(self.caches[0], range(len(self.rows)), places)
        rows = list(dict.fromkeys(row for row, _ in places))
        return torch.cat(
            [self._extend(self.caches[row], [row], [one for one in places if one[0] == row]) for row in rows]
        )

    def _extend(self, cache: SlotCache, rows: Sequence[int], places: list[tuple[int, int]]) -> Tensor:
        """Read what is new in the rows of one cache, as far as the places; logits there, ``[P, V_i]``."""
        texts = [self.rows[row].reading for row in rows]
        wanted = [[length for place, length in places if place == row] for row in rows]
        if self._rescaled(cache.lengths, wanted):
            cache.roll_back([[] for _ in rows])
        # The last token before a place is always read: its logits are what is asked for.
        kept = cache.roll_back(
            [text[: min(ends) - 1 if ends else None] for text, ends in zip(texts, wanted, strict=True)]
        )
        blocks = [text[start : max(ends, default=start)] for text, start, ends in zip(texts, kept, wanted, strict=True)]
        mask, positions = cache.extend(blocks)
        if self._steps and positions.shape[1] == 1 and cache.layers():
            logits, asked = self._steps.read(blocks, cache, positions), [rows.index(row) for row, _ in places]
            return logits if asked == list(range(len(blocks))) else self._model.rows_of(logits, asked)
        ends = {row: start + len(block) for row, start, block in zip(rows, kept, blocks, strict=True)}
        behind = [(rows.index(row), ends[row] - length) for row, length in places]
        logits = self._model.read(blocks, cache.cache, mask, positions, behind)
        if cache.filled != cache.alive.shape[1]:
            raise LogitsError(
                f"member {self._name} added {cache.filled} of {cache.alive.shape[1]} tokens to its cache, so that it "
                "would not see them",
                hint="load a causal language model; code of its own must extend the cache that its forward is given",
            )
        return logits

    def _rescaled(self, cached: Sequence[int], wanted: Sequence[Sequence[int]]) -> bool:
        """Whether what is cached was encoded in another way than the text will be now."""
        if self._bound is None:
            return False
        return any(
            (count > self._bound) != (max(ends) > self._bound)
            for count, ends in zip(cached, wanted, strict=True)
            if ends
        )


class AfreshContext(LocalContext):
    """A model that cannot be rolled back: each row's whole text is read again, without a cache."""

    def _forward(self, places: list[tuple[int, int]]) -> Tensor:
        return torch.cat([self._model.read_afresh(self.rows[row].reading[:length]) for row, length in places])
