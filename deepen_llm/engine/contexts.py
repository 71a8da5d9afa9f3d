"""All members' contexts over the same sequences: opened, read, extended, selected and joined together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

import torch

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.healing import BACK
from deepen_llm.engine.left_out import LeftOut
from deepen_llm.engine.tokens import Token
from deepen_llm.engine.weighing import Weighing
from deepen_llm.errors import LogitsError
from deepen_llm.members.base import Context, Reading
from deepen_llm.members.text.encoding import Draft, EncodedPrompt, Prompt
from deepen_llm.structure import TokenBudget

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


class Contexts:
    """All members' contexts over B sequences.

    Args:
        ensemble: The ensemble.
        prompts: For each sequence, its prompt as each member encodes it.
        given: Whether the tokens that follow are given, rather than chosen by the ensemble.
        healing: Whether logits at earlier boundaries are kept, too, to heal prompts that end inside a token.

    Attributes:
        ensemble: The ensemble.
        by_member: Each member's context.
        draft_context: The context of the model that drafts; the main model's own where there is no draft model.
        heals: For each member, whether its predictions are healed here; fusion by surfaces heals the others itself.
        weighing: The aggregation weights of the sequences.
        failures: Why members are left out, by their indices, under ``on_member_failure="degrade"``.
    """

    def __init__(
        self, ensemble: Ensemble, prompts: Sequence[EncodedPrompt], *, given: bool = False, healing: bool = False
    ) -> None:
        self.ensemble, members = ensemble, ensemble.members
        self._takes_tokens = ensemble.takes_tokens
        fusion_back = [0 if takes_tokens else ensemble.fusion.back for takes_tokens in self._takes_tokens]
        self.heals = [healing and not back for back in fusion_back]
        backs = [
            (ensemble.fusion.back or BACK) if heals else back
            for heals, back in zip(self.heals, fusion_back, strict=True)
        ]
        columns = list(zip(*prompts, strict=True)) or [()] * len(members)
        on_accelerator = [member.device.type != "cpu" for member in members]
        # An accelerator runs asynchronously: members on it are read first, and compute while the others are read.
        self._read_order = sorted(range(len(members)), key=lambda i: not on_accelerator[i])
        self._backs, self.failures = backs, dict[int, Exception]()
        with ExitStack() as opened:  # closed if another one cannot be opened
            self.by_member = list[Context]()
            for i, (column, back) in enumerate(zip(columns, backs, strict=True)):
                self.by_member.append(self._opened(i, column, back))
                opened.callback(self.by_member[-1].close)
            self.draft_context = self.by_member[ensemble.main]
            if ensemble.draft_model:
                self.draft_context = ensemble.draft_model.open(list(columns[ensemble.main]))
                opened.callback(self.draft_context.close)
            self.weighing = Weighing(ensemble, columns, given=given)
            self._leave_out_failed()
            opened.pop_all()

    @property
    def ids(self) -> list[list[int]]:
        """The main model's token ids of each sequence."""
        return self.by_member[self.ensemble.main].ids

    @property
    def left_out(self) -> list[list[int]]:
        """For each sequence, the indices of the members that it goes on without."""
        if not self.failures:
            return [[] for _ in self.weighing.given]
        return [row.nonzero()[:, 0].tolist() for row in self.weighing.left_out]

    @property
    def has_replaced(self) -> bool:
        """Whether a member has failed in all sequences, so that it reads none any more."""
        return any(isinstance(context, LeftOut) for context in self.by_member)

    def failure_of(self, name: str) -> Exception:
        """Why a member, by its name, is left out."""
        return next(error for i, error in self.failures.items() if self.ensemble.members[i].name == name)

    @property
    def read_order(self) -> Sequence[int]:
        """Indices of the members, in the order in which they are read."""
        return self._read_order

    def takes_tokens(self, member: int) -> bool:
        """Whether a member, by its index, has the vocabulary that tokens are chosen from, so that it appends ids."""
        return self._takes_tokens[member]

    def as_inputs(self, tokens: Sequence[Sequence[Token]]) -> list[list[Draft]]:
        """The inputs of each member for these tokens: their ids if it has the ensemble's vocabulary, else their text.

        Args:
            tokens: For each sequence, tokens that follow, or may follow.
        """
        ids = _ids(tokens)
        pieces: list[Draft] = [[token.piece for token in sequence] for sequence in tokens]
        return [ids if takes_tokens else pieces for takes_tokens in self._takes_tokens]

    def lengths(self, inputs: Sequence[Sequence[Draft]]) -> list[list[list[int]]]:
        """`Context.boundaries` of each member's inputs, ``[N][B][boundaries]``."""
        return [self.boundaries(i, drafts) for i, drafts in enumerate(inputs)]

    def boundaries(self, member: int, drafts: Sequence[Draft]) -> list[list[int]]:
        """`Context.boundaries` of one member, by its index."""
        return self._of(member, lambda context: context.boundaries(drafts))

    def readable(self, drafts: Sequence[Sequence[Token]]) -> list[int]:
        """For each sequence, how many tokens of a draft all members can read at once, with one more to follow."""
        budgets = self.budgets_at(self.lengths(self.as_inputs(drafts)))
        return [sum(min(budget) > 0 for budget in of_sequence[1:]) for of_sequence in budgets]

    def added(self, drafts: Sequence[Sequence[Token]]) -> dict[int, list[list[int] | None]]:
        """`Context.added` of each member but the main model, by its index."""
        inputs = self.as_inputs(drafts)
        others = [i for i in range(len(self.by_member)) if i != self.ensemble.main]
        return {i: self._of(i, lambda context, i=i: context.added(inputs[i])) for i in others}  # type: ignore[misc]

    def can_draft(self, count: int) -> bool:
        """Whether so many more tokens fit into the drafting model's context window, in every sequence."""
        drafting = self.ensemble.draft_model or self.ensemble.main_model
        longest = max(map(len, self.ids), default=0)
        return drafting.context_length is None or longest + count <= drafting.context_length

    def read(self, member: int, drafts: Sequence[Draft]) -> Reading:
        """Read one member at every boundary of the drafts; sequences that it is left out of have logits of 0.

        Args:
            member: Its index.
            drafts: Its inputs.
        """
        reading = self._of(member, lambda context: context.read(drafts))
        if reading.logits.device.type == "cpu" and (error := self._error_of(member)):  # nothing to wait for
            raise error
        return self.weighing.without_failed(member, reading)

    def check(self) -> bool:
        """Wait for the members' logits.

        Returns:
            Whether members were left out of sequences since these were read, so that they are to be read again.

        Raises:
            LogitsError: A member's logits are no distribution; with the sequences of all members whose are none.
        """
        before = self.weighing.left_out.clone()
        errors = [error for i in range(len(self.by_member)) if (error := self._error_of(i))]
        if self.ensemble.draft_model:
            self.draft_context.check()
        if errors:
            sequences = frozenset[int]().union(*(error.sequences for error in errors))
            known = all(error.sequences for error in errors)
            raise LogitsError(errors[0].message, hint=errors[0].hint, sequences=sequences if known else ())
        return not torch.equal(before, self.weighing.left_out)

    def commit(self, tokens: Sequence[Sequence[Token]]) -> None:
        """Append each sequence's tokens in every member's context."""
        for i, inputs in enumerate(self.as_inputs(tokens)):
            self._of(i, lambda context, inputs=inputs: context.append(inputs))  # type: ignore[misc]
        self.weighing.commit(tokens)
        if self.ensemble.draft_model:
            self.draft_context.append(_ids(tokens))

    def reread(self, sequences: Sequence[int]) -> None:
        """Encode these sequences' text again, for the main model and every member with its vocabulary.

        Args:
            sequences: Their indices.
        """
        if not sequences:
            return
        for i, takes_tokens in enumerate(self._takes_tokens):
            if takes_tokens:
                self._of(i, lambda context: context.reread(sequences))
        if self.ensemble.draft_model:
            self.draft_context.reread(sequences)

    def select(self, sequences: Sequence[int]) -> None:
        """Keep these sequences, by their indices, in this order; one that is named twice is copied."""
        for i in range(len(self.by_member)):
            self._of(i, lambda context: context.select(sequences))
        if self.ensemble.draft_model:
            self.draft_context.select(sequences)
        self.weighing.select(sequences)

    @property
    def unread(self) -> int:
        """How many tokens the member with the most of them has to read before the first step."""
        return max(sum(context.unread) for context in self._all())

    def read_prompts(self, most: int) -> None:
        """Read the next tokens of all prompts, without logits.

        Args:
            most: How many tokens of all prompts together, for each member.
        """
        each = max(1, most // max(1, len(self.weighing.given)))
        for i in range(len(self.by_member)):
            self._of(i, lambda context: context.prefill(each))
        if self.ensemble.draft_model:
            self.draft_context.prefill(each)

    def prefill(self, copies: Sequence[int]) -> None:
        """Read the prompts, each once, or what is left of them.

        Args:
            copies: For each prompt, how many sequences continue it.

        Raises:
            LogitsError: See `check`. After an error of any kind the new contexts are closed, but for those that were
                joined already.
        """
        try:
            for i in self._read_order:
                self._of(i, lambda context: context.read([()] * len(copies)))
            self.check()
            if any(count != 1 for count in copies):
                self.select([index for index, count in enumerate(copies) for _ in range(count)])
        except BaseException:
            self.close()
            raise

    def join(self, new: Contexts) -> None:
        """Take over the sequences of other contexts, behind the own ones; the other contexts cannot be used then.

        After an error of any kind the other contexts are closed, but for those that were joined already.
        """
        unjoined = list(new._all())
        try:
            for i, other in enumerate(new.by_member):
                if isinstance(other, LeftOut) and not isinstance(self.by_member[i], LeftOut):
                    self._replace(i, len(self.weighing.given))
                self._of(i, lambda context, other=other: context.join(other))  # type: ignore[misc]
                del unjoined[0]
            if unjoined:
                self.draft_context.join(unjoined[0])
                del unjoined[0]
        except BaseException:
            _close(unjoined)
            raise
        self.weighing.join(new.weighing)
        self.failures = {**new.failures, **self.failures}
        self._leave_out_failed()
        self.heals = [heals or new_heals for heals, new_heals in zip(self.heals, new.heals, strict=True)]

    def budgets(self) -> list[TokenBudget]:
        """For each sequence, how many tokens still fit into the members' context windows."""
        lengths = [[[len(ids)] for ids in context.ids] for context in self.by_member]
        return [budget for (budget,) in self.budgets_at(lengths)]

    def budgets_at(self, lengths: Sequence[Sequence[Sequence[int]]]) -> list[list[TokenBudget]]:
        """For each sequence and boundary, how many tokens still fit after it.

        Args:
            lengths: ``[N][B][boundaries]``; the member that reads the shortest draft limits the boundaries.
        """
        left = self.ensemble.tokens_left
        return [
            [left(of_boundary) for of_boundary in zip(*of_sequence, strict=False)]
            for of_sequence in zip(*lengths, strict=True)
        ]

    def close(self) -> None:
        """Free all contexts, the others too where one raises an error."""
        _close(self._all())

    def _opened(self, member: int, column: Sequence[Prompt], back: int) -> Context:
        try:
            return self.ensemble.members[member].open(list(column), back=back)
        except Exception as error:
            if not self.ensemble.goes_on_without(member):
                raise
            self._note_failure(member, error)
            return self._left_out(member, len(column))

    def _of(self, member: int, call: Callable[[Context], Result]) -> Result:
        """Call a member's context; where that fails, the member is left out of all sequences, or the error raised."""
        try:
            return call(self.by_member[member])
        except Exception as error:
            if not self.ensemble.goes_on_without(member):
                raise
            self._note_failure(member, error)
        self._replace(member, len(self.weighing.given))
        self._leave_out_failed()
        return call(self.by_member[member])

    def _replace(self, member: int, count: int) -> None:
        """Put a context that reads nothing in the place of a failed one."""
        failed, self.by_member[member] = self.by_member[member], self._left_out(member, count)
        with suppress(Exception):  # it has failed before
            failed.close()

    def _left_out(self, member: int, count: int) -> LeftOut:
        return LeftOut(self.ensemble.members[member], count, trails=bool(self._backs[member]))

    def _note_failure(self, member: int, error: Exception) -> None:
        name = self.ensemble.members[member].name
        _LOG.warning("member %s failed, and is left out of what is decoded now", name, exc_info=error)
        self.failures[member] = error

    def _leave_out_failed(self) -> None:
        for i, context in enumerate(self.by_member):
            if isinstance(context, LeftOut):
                self.weighing.leave_out(i, range(len(self.weighing.given)))

    def _error_of(self, member: int) -> LogitsError | None:
        """What is wrong with a member's logits, but for those of sequences that it is left out of."""
        try:
            self.by_member[member].check()
        except LogitsError as error:
            if not error.sequences or not self.ensemble.goes_on_without(member):
                return error
            if self.weighing.leave_out(member, error.sequences):
                self._note_failure(member, error)
        return None

    def _all(self) -> list[Context]:
        return [*self.by_member, self.draft_context] if self.ensemble.draft_model else self.by_member


def _close(contexts: Sequence[Context]) -> None:
    with ExitStack() as closing:
        for context in contexts:
            closing.callback(context.close)


def _ids(tokens: Sequence[Sequence[Token]]) -> list[Draft]:
    return [[token.id for token in sequence] for sequence in tokens]
