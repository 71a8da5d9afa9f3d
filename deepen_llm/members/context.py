"""What a local model has read: transcripts, and logits for their ends."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepen_llm.errors import LogitsError
from deepen_llm.members.base import Context
from deepen_llm.members.encoding import Prompt, TextEncoder
from deepen_llm.members.model import CausalModel
from deepen_llm.members.slots import SlotCache
from deepen_llm.members.transcript import Transcript
from deepen_llm.vocabulary import Vocabulary


class LocalContext(Context):
    """The part that does not depend on how the model keeps what it has read.

    Args:
        name: The member's name, for messages.
        model: The model.
        vocabulary: Its vocabulary.
        encoder: Its tokenizer.
        prompts: One per row.
    """

    def __init__(
        self,
        name: str,
        model: CausalModel,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        prompts: Sequence[Prompt],
    ) -> None:
        self._name, self._model, self._vocabulary = name, model, vocabulary
        self._rows = [Transcript(encoder, prompt) for prompt in prompts]
        self._read: list[list[int] | None] = [None] * len(prompts)  # ids that the logits are for
        self._logits = torch.zeros(len(prompts), vocabulary.size, device=model.device)

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """See `Context`."""
        stale = [
            row for row, (script, read) in enumerate(zip(self._rows, self._read, strict=True)) if script.ids != read
        ]
        if stale:
            fresh = self._forward(stale).float()  # [len(stale), V]
            fresh[:, self._vocabulary.tokenizer_size :] = -torch.inf
            self._check(fresh, stale)
            self._logits = self._logits.index_copy(0, torch.tensor(stale, device=fresh.device), fresh)
            for row in stale:
                self._read[row] = list(self._rows[row].ids)
        return self._logits

    @abstractmethod
    def _forward(self, rows: Sequence[int]) -> Tensor:
        """Bring these rows up to date; the logits at their ends, ``[len(rows), V_i]``."""

    def append_text(self, pieces: Sequence[str]) -> None:
        """See `Context`."""
        for row, piece in zip(self._rows, pieces, strict=True):
            row.append_text(piece)

    def append_tokens(self, tokens: Sequence[int]) -> None:
        """See `Context`."""
        for row, token in zip(self._rows, tokens, strict=True):
            row.ids.append(token)

    def select(self, rows: Sequence[int]) -> None:
        """See `Context`."""
        self._rows = [self._rows[row].copy() for row in rows]
        self._read = [self._read[row] for row in rows]
        self._logits = self._logits[list(rows)]

    def close(self) -> None:
        """See `Context`."""
        self.select([])

    @property
    def ids(self) -> list[list[int]]:
        """See `Context`."""
        return [row.ids for row in self._rows]

    def _check(self, logits: Tensor, rows: Sequence[int]) -> None:
        top = logits.max(-1).values  # NaN where any logit is
        for row, good in zip(rows, top.isfinite().tolist(), strict=True):
            if not good:
                raise LogitsError(
                    f"member {self._name} gave logits that are no distribution (NaN, +inf or all -inf) "
                    f"after token {len(self._rows[row].ids)} of row {row}",
                    hint="load it with dtype='float32' or 'bfloat16', and check its weights with transformers alone",
                )


class CachedContext(LocalContext):
    """Key-value caches that are rolled back and extended; each forward reads what is new.

    Args:
        shared: Whether all rows lie in one cache, or each in its own (where attention counts slots, as sliding windows
            do, another row's dead slots would shorten a row's window).
        arguments: As `LocalContext` takes them.
    """

    def __init__(self, shared: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        count = len(self._rows)
        self._shared, self._bound = shared, self._model.rescales_at()
        self._caches = [SlotCache(count, self._model.device)] if shared else [self._single() for _ in range(count)]

    def select(self, rows: Sequence[int]) -> None:
        """See `Context`."""
        super().select(rows)
        if self._shared:
            self._caches[0].select(rows)
        else:
            self._caches = [self._caches[row].copy() for row in rows]

    def _single(self) -> SlotCache:
        return SlotCache(1, self._model.device)

    def _forward(self, rows: Sequence[int]) -> Tensor:
        if self._shared:
            return self._extend(self._caches[0], range(len(self._rows)), rows)
        return torch.cat([self._extend(self._caches[row], [row], [row]) for row in rows])

    def _extend(self, cache: SlotCache, members: Sequence[int], stale: Sequence[int]) -> Tensor:
        """Read what is new in the rows of one cache; logits at the ends of the stale ones, ``[len(stale), V_i]``."""
        # A stale row's last token is always read: its logits are what is asked for.
        targets = [self._rows[row].ids[: -1 if row in stale else None] for row in members]
        if self._rescaled(cache.lengths, members):
            cache.roll_back([[] for _ in members])
        kept = cache.roll_back(targets)
        blocks = [self._rows[row].ids[count:] for row, count in zip(members, kept, strict=True)]
        mask, positions = cache.extend(blocks)
        places = [members.index(row) for row in stale]
        return self._model.read(
            blocks, cache.cache, mask, positions, places, [len(blocks[place]) - 1 for place in places]
        )

    def _rescaled(self, cached: Sequence[int], members: Sequence[int]) -> bool:
        """Whether what is cached was encoded in another way than the text will be now."""
        if self._bound is None:
            return False
        lengths = [(count, len(self._rows[row].ids)) for count, row in zip(cached, members, strict=True)]
        return any((count > self._bound) != (length > self._bound) for count, length in lengths)


class AfreshContext(LocalContext):
    """A model that cannot be rolled back: each row's whole text is read again, without a cache."""

    def _forward(self, rows: Sequence[int]) -> Tensor:
        return torch.cat([self._model.read_afresh(self._rows[row].ids) for row in rows])
