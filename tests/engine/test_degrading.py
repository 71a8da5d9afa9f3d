"""A member that fails is left out, where the ensemble is to go on without it, and every answer says so."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from deepen_llm import EnsembleLLM
from deepen_llm.errors import LogitsError
from deepen_llm.fusion import METHODS
from deepen_llm.members.base import Context
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import Prompt
from tests.laws.test_decoding import PROMPTS
from tests.models import small

KINDS = (("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe"), ("gpt2", "wordpiece"))
NAMES = ("main", "second", "third")
CALLS = ["open", "boundaries", "read", "append", "select", "join"]
OPTIONS: dict[str, Any] = {"max_new_tokens": 12}


class Breaking(LocalMember):
    """A member whose contexts raise an error from some call on.

    Attributes:
        call: The call; "" for none.
        after: How many of these calls succeed.
    """

    call, after = "", 0

    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        self._count("open")
        context = super().open(prompts, back=back)
        for name in CALLS[1:]:
            setattr(context, name, self._counted(name, getattr(context, name)))
        return context

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **options: Any) -> Any:
            self._count(name)
            return call(*given, **options)

        return counted

    def _count(self, name: str) -> None:
        if name == self.call:
            self.after -= 1
            if self.after < 0:
                raise RuntimeError(f"a fault in {name}")


@cache
def members() -> list[Breaking]:
    return [
        Breaking(*small(*kind, seed=seed), name=name)
        for seed, (kind, name) in enumerate(zip(KINDS, NAMES, strict=True))
    ]


@pytest.fixture(autouse=True)
def _mended(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL, "deepen_llm")
    yield
    for member in members():
        member.call = ""


def degrading(**settings: Any) -> EnsembleLLM:
    return EnsembleLLM(members(), on_member_failure="degrade", **settings)


def break_in(member: int, call: str, after: int) -> None:
    members()[member].call, members()[member].after = call, after


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize("call", CALLS)
def test_answers_go_on_without_a_member_that_raises_in_any_call(call: str, after: int) -> None:
    llm = degrading()
    whole = llm.generate(PROMPTS, **OPTIONS)
    assert [out.left_out for out in whole] == [()] * len(PROMPTS)
    break_in(1, call, after)
    found = llm.generate(PROMPTS, **OPTIONS)
    broke = members()[1].after < 0
    without = llm.subset([0, 2]).generate(PROMPTS, **OPTIONS)
    assert all(out.left_out in ((), ("second",)) for out in found)
    if call != "select":  # which may come when all answers have ended
        assert any(out.left_out for out in found) == broke
    if call in ("open", "read", "boundaries") and not after:
        assert [out.tokens for out in found] == [out.tokens for out in without]
    break_in(1, "", 0)
    assert llm.generate(PROMPTS, **OPTIONS) == whole  # the member is asked again once nothing runs


@pytest.mark.parametrize("fusion", METHODS)
def test_every_method_goes_on_as_the_others_alone(fusion: str) -> None:
    llm = degrading(fusion=fusion)
    break_in(2, "read", 0)
    found = llm.generate(PROMPTS, **OPTIONS)
    assert [out.left_out for out in found] == [("third",)] * len(PROMPTS)
    pair = EnsembleLLM(members()[:2], fusion=fusion).generate(PROMPTS, **OPTIONS)
    if fusion != "deepen":  # its anchors are those of all members
        assert [out.tokens for out in found] == [out.tokens for out in pair]


def test_with_no_other_left_the_main_model_answers_alone() -> None:
    llm = degrading(draft_tokens=2)
    break_in(1, "read", 0)
    break_in(2, "append", 0)
    found = llm.generate(PROMPTS, **OPTIONS)
    assert [out.left_out for out in found] == [("second", "third")] * len(PROMPTS)


@pytest.mark.parametrize("weights", [None, "entropy", "track"])
@pytest.mark.parametrize("gate", ["always", "safe", "boundary"])
def test_weights_and_gates_go_on(weights: Any, gate: str) -> None:
    llm = degrading(weights=weights, gate=gate)
    break_in(1, "append", 8)  # a prompt that weights follow is appended to, too
    assert all(len(out.tokens) == 12 or out.finish_reason == "eos" for out in llm.generate(PROMPTS, **OPTIONS))


@pytest.mark.parametrize("when", ["main", "raise", "score"])
def test_what_needs_the_member_ends_with_its_error(when: str) -> None:
    llm = EnsembleLLM(members()) if when == "raise" else degrading()
    break_in(0 if when == "main" else 1, "read", 0)
    with pytest.raises(RuntimeError, match="a fault in read"):
        llm.score(PROMPTS[0], " jumps over") if when == "score" else llm.generate(PROMPTS, **OPTIONS)


def test_only_the_sequence_whose_logits_are_nan_goes_on_without_the_member(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = degrading()
    alone = [llm.generate(prompt, **OPTIONS) for prompt in PROMPTS]
    poison(monkeypatch, members()[1], PROMPTS[2])
    found = llm.generate(PROMPTS, **OPTIONS)
    assert [out.left_out for out in found] == [(), (), ("second",), ()]
    assert [out.tokens for i, out in enumerate(found) if i != 2] == [
        out.tokens for i, out in enumerate(alone) if i != 2
    ]
    without = llm.subset([0, 2]).generate(PROMPTS[2], **OPTIONS)
    assert found[2].tokens == without.tokens
    with pytest.raises(LogitsError, match="member second"):
        llm.score(PROMPTS[2], " jumps over")
    with pytest.raises(LogitsError, match="member second"):
        EnsembleLLM(members()).generate(PROMPTS, **OPTIONS)


def poison(monkeypatch: pytest.MonkeyPatch, member: LocalMember, prompt: str) -> None:
    """Let the member's logits be NaN after every text that begins with a prompt."""
    own, poisoned = LocalMember.open, member.encode_prompt(prompt).ids[:3]

    def opened(self: LocalMember, prompts: Sequence[Prompt], *, back: int = 0) -> Any:
        context: Any = own(self, prompts, back=back)
        if self is member:
            forward = context._forward

            def with_nan(positions: list[tuple[int, int]]) -> Tensor:
                bad = [context.ids[sequence][:3] == list(poisoned) for sequence, _ in positions]
                logits: Tensor = forward(positions)
                return logits.masked_fill(torch.tensor(bad)[:, None], torch.nan)

            context._forward = with_nan
        return context

    monkeypatch.setattr(LocalMember, "open", opened)


def test_the_log_names_the_member_and_the_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "deepen_llm")
    break_in(1, "read", 0)
    degrading().generate(PROMPTS[0], **OPTIONS)
    (record,) = caplog.records
    assert "member second" in record.getMessage()
    assert record.exc_info is not None
    assert "a fault in read" in str(record.exc_info[1])


def test_one_failure_is_that_of_the_answers_that_are_decoded_then() -> None:
    llm, reads = degrading(batch_size=2), 0
    own = LocalMember.open

    def opened(self: LocalMember, prompts: Sequence[Prompt], *, back: int = 0) -> Any:
        context: Any = own(self, prompts, back=back)
        read = context.read

        def once(*given: Any, **options: Any) -> Any:
            nonlocal reads
            reads += 1
            if reads == 5:
                raise RuntimeError("a passing fault")
            return read(*given, **options)

        if self is members()[1]:
            context.read = once
        return context

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LocalMember, "open", opened)
        found = llm.generate(PROMPTS * 3, **OPTIONS)
    assert 1 <= sum(bool(out.left_out) for out in found) <= 3
    whole = llm.generate(PROMPTS * 3, **OPTIONS)
    assert all(out.tokens == other.tokens for out, other in zip(found, whole, strict=True) if not out.left_out)
