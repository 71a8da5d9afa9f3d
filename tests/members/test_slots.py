"""What a text leaves in the buffers changes nobody's logits, whatever comes and goes (laws 4 and 13)."""

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepen_llm.errors import LogitsError
from deepen_llm.members.base import Context
from deepen_llm.members.local.cached_context import CachedContext
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.local.slabs import Slab, SlabPool
from tests.models import small

TEXTS = [
    "The quick brown fox",
    "1, 2, 3,",
    "She sells sea shells by the sea shore",
    "a",
    "Die Antwort auf die große Frage",
]


def member_of(architecture: str = "llama") -> LocalMember:
    return LocalMember(*small(architecture, "byte_level_bpe"))


def opened(member: LocalMember, texts: Sequence[str]) -> Context:
    return member.open([member.encode_prompt(text) for text in texts])


def check(member: LocalMember, context: Context) -> None:
    with torch.inference_mode():
        whole = [member.model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in context.ids]
    torch.testing.assert_close(context.logits(), torch.stack(whole), atol=2e-4, rtol=1e-4)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.sampled_from([" and", " the sea", "", " 42, 43", "x"]), max_size=6)),
        st.tuples(st.just("select"), st.lists(st.integers(0, 5), min_size=1, max_size=6)),
        st.tuples(st.just("join"), st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3)),
        st.tuples(st.just("read"), st.lists(st.integers(3, 200), max_size=5)),
    ),
    max_size=8,
)


@pytest.mark.parametrize("fixed", [False, True])
@given(actions=ACTIONS, start=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3))
@settings(max_examples=15)
def test_whatever_comes_and_goes_logits_are_those_of_the_whole_texts(
    fixed: bool, actions: list[tuple[str, list[object]]], start: list[str]
) -> None:
    member = member_of()
    member.causal.fixed_steps = fixed
    context = opened(member, start)
    for name, given_ in actions:
        count = len(context.ids)
        if name == "append":
            context.append([[str(given_[i])] if i < len(given_) and given_[i] else [] for i in range(count)])
        elif name == "select":
            context.select([int(str(i)) % count for i in given_])
        elif name == "read":  # a draft that is not taken
            context.read([[int(str(i)) for i in given_], *([()] * (count - 1))])
        elif count < 8:
            new = opened(member, list(map(str, given_)))
            if len(given_) > 1:
                new.logits()
            context.join(new)
        check(member, context)
    context.close()


@pytest.mark.parametrize("fixed", [False, True])
def test_buffers_are_used_again_and_hold_what_their_text_needs(fixed: bool) -> None:
    member = member_of()
    member.causal.fixed_steps = fixed
    slabs = []
    for text in (TEXTS[2], TEXTS[0]):
        context = opened(member, [text])
        check(member, context)
        assert isinstance(context, CachedContext)
        slabs.append(context.caches[0].slab)
        context.append([[" and"]])
        check(member, context)
        context.close()
    assert slabs[0] is slabs[1]
    assert (slabs[0].rows, slabs[0].capacity) == (1, 256)
    assert (slabs[0].steps is not None) == fixed


def test_sequences_that_stay_are_not_moved() -> None:
    member = member_of()
    context = opened(member, TEXTS[:4])
    context.logits()
    assert isinstance(context, CachedContext)
    context.select([0, 2, 3])
    assert context.caches[0].rows == [0, 2, 1]  # the last one takes the row of the second one
    check(member, context)


def test_values_that_are_not_finite_reach_no_later_text() -> None:
    member = member_of()
    context = opened(member, TEXTS[:3])
    context.logits()
    assert isinstance(context, CachedContext)
    slab = context.caches[0].slab
    with torch.inference_mode():
        for layer in slab.layers:
            layer.keys[1], layer.values[1] = torch.nan, torch.nan
    context.append([[" and"]] * 3)
    with pytest.raises(LogitsError) as caught:
        context.logits()
    assert caught.value.sequences == {1}
    context.select([0, 2])
    for text in (" and the sea shells and the quick brown fox", " 42"):
        context.append([[text], [" x"]])
        check(member, context)
    context.join(opened(member, TEXTS[:2]))
    check(member, context)


def test_a_failed_forward_leaves_no_token_that_was_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    member = member_of()
    text = "She sells sea shells by the sea shore and the quick brown fox jumps over the lazy dog. " * 4
    context = opened(member, [text])
    context.logits()
    context.append([[" and the lazy dog and she sells"]])

    def failing(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(type(member.causal), "read", failing)
        with pytest.raises(RuntimeError, match="no memory"):
            context.logits()
    context.close()
    check(member, opened(member, [text + " and the lazy dog and she sells more"]))


def test_buffers_that_cannot_grow_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    member = member_of()
    context = opened(member, ["the quick brown fox and the sea shore " * 12])
    check(member, context)

    def failing(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    context.append([[" and the sea shells by the sea shore" * 12]])
    with monkeypatch.context() as patched:
        patched.setattr(Slab, "copy_rows", failing)
        with pytest.raises(torch.OutOfMemoryError):
            context.logits()
    check(member, context)
    context.close()
    check(member, opened(member, ["the quick brown fox and the sea shore " * 12 + "x"]))


def test_buffers_shrink_once_few_are_needed() -> None:
    member = member_of()
    context = opened(member, TEXTS[:4] * 4)
    context.logits()
    assert isinstance(context, CachedContext)
    assert context.caches[0].slab.rows == 16
    context.select([3, 5])
    check(member, context)
    assert (context.caches[0].slab.rows, context.caches[0].slab.capacity) == (2, 256)


def test_a_buffer_is_in_the_pool_once_whoever_is_interrupted() -> None:
    member = member_of()
    whole, first = opened(member, []), opened(member, TEXTS[:1])
    first.logits()
    whole.join(first)
    first.close()  # an interrupt may come before it is forgotten
    whole.close()
    slabs = [member.causal.slabs.take(1, 256) for _ in range(2)]
    assert slabs[0] is not slabs[1]


def test_buffers_are_freed_with_their_last_user() -> None:
    slab = Slab(1, 256)
    gone = weakref.ref(slab)
    gc.disable()
    try:
        del slab
        assert gone() is None
    finally:
        gc.enable()


def test_a_callers_autocast_changes_nothing_for_later_texts() -> None:
    member = member_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check_closed = opened(member, [TEXTS[2] * 10])
        check_closed.logits()
        check_closed.close()
    check(member, opened(member, [TEXTS[2] * 10 + "x"]))


def test_values_of_an_unchecked_part_of_a_prompt_reach_nobody() -> None:
    member = member_of()
    context = opened(member, ["the quick brown fox and the sea shore " * 12])
    context.prefill(50)
    assert isinstance(context, CachedContext)
    with torch.inference_mode():
        for layer in context.caches[0].slab.layers:
            layer.keys[:], layer.values[:] = torch.nan, torch.nan
    context.close()  # nothing was checked
    for _ in range(2):
        check(member, opened(member, TEXTS[:1]))


def test_a_pool_keeps_little_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    member, pool = member_of(), SlabPool(torch.device("cpu"), lambda: None)
    contexts = [opened(member, [text] * 2) for text in TEXTS[:3]]
    taken = []
    for context in contexts:
        context.logits()
        assert isinstance(context, CachedContext)
        taken.append(context.caches[0].slab)
    monkeypatch.setattr("deepen_llm.members.local.slabs.free_memory", lambda _: 25 * taken[0].nbytes)
    for slab in taken:
        pool.give_back(slab)
    found = [pool.take(2, 100) for _ in range(3)]
    assert [any(slab is one for one in taken) for slab in found] == [True, True, False]
