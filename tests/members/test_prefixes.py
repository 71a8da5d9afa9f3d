"""Prompts that begin as a text that was read: their beginning is not read again, and their logits stay the same."""

import copy
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from deepen_llm import EnsembleLLM
from deepen_llm.errors import LogitsError
from deepen_llm.members.context import Context
from deepen_llm.members.local import prefixes
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.local.traits import CacheSupport
from tests.models import CONFIGS, RECURRENT, TYPES, random_model, small
from tests.tokenizers import SMALL

KIND = "byte_level_bpe"
TEXT = "The quick brown fox jumps over the lazy dog, and she sells sea shells by the sea shore. " * 4


def member_of(architecture: str, **changed: Any) -> LocalMember:
    return LocalMember(*small(architecture, KIND, **changed))


@contextmanager
def counted(member: LocalMember) -> Iterator[list[int]]:
    """How many tokens the member computes, forward by forward."""
    counts: list[int] = []

    def count(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        counts.append(given["input_ids"].numel())

    with member.model.register_forward_pre_hook(count, with_kwargs=True):
        yield counts


@torch.inference_mode()
def afresh(member: LocalMember, ids: Sequence[int]) -> torch.Tensor:
    out: torch.Tensor = member.model(input_ids=torch.tensor([list(ids)])).logits[0, -1]
    return out


def opened(member: LocalMember, *texts: str) -> Context:
    return member.open([member.encode_prompt(text) for text in texts])


# Which tokens DeepSeek's sparse attention chooses changes with the rounding of each forward, in transformers too; the
# window of the model with dynamic positions is shorter than a beginning that is kept.
@pytest.mark.parametrize("architecture", sorted({*CONFIGS, *TYPES} - {"deepseek_v32", "dynamic_rope"}))
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_a_beginning_that_was_read_is_not_read_again(architecture: str) -> None:
    member = member_of(architecture)
    first = opened(member, TEXT)
    first.logits()
    first.close()
    texts = [f"{TEXT}What is the capital", TEXT[: len(TEXT) // 2], "short", f"{TEXT[:-60]}42"]
    with counted(member) as counts:
        context = opened(member, *texts)
        got = context.logits()
    expected = torch.stack([afresh(member, ids) for ids in context.ids])
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)
    reused = architecture not in {*RECURRENT, "longrope"}
    assert (sum(counts) < sum(map(len, context.ids)) / 3) == reused
    context.append([[" and"]] * len(texts))  # and they go on
    expected = torch.stack([afresh(member, ids) for ids in context.ids])
    torch.testing.assert_close(context.logits(), expected, atol=2e-4, rtol=1e-4)


def test_an_answer_is_kept_with_its_prompt() -> None:
    member = member_of("llama")
    llm = EnsembleLLM([member])
    answer, prompt = llm.generate(TEXT, max_new_tokens=20), member.encode_prompt(TEXT)
    with counted(member) as counts:
        member.open([replace(prompt, ids=(*prompt.ids, *answer.tokens))]).logits()
    assert sum(counts) < 3


def test_prompts_of_one_batch_that_begin_alike_read_their_beginning_once() -> None:
    member = member_of("llama")
    with counted(member) as counts:
        outs = EnsembleLLM([member], batch_size=16).generate([f"{TEXT} {i}" for i in range(16)], max_new_tokens=1)
    length = len(member.encode_prompt(TEXT).ids)
    assert length < sum(counts) < 1.5 * length
    alone = EnsembleLLM([member_of("llama")]).generate(f"{TEXT} 7", max_new_tokens=1)
    assert outs[7].tokens == alone.tokens


@pytest.mark.parametrize("change", ["in place", "replaced"])
def test_what_other_weights_have_read_is_read_again(change: str) -> None:
    tokenizer = SMALL[KIND]()
    member = LocalMember(random_model("llama", len(tokenizer), tokenizer.eos_token_id, seed=99), tokenizer)
    opened(member, TEXT).logits()
    weight = member.model.get_input_embeddings().weight
    kept = weight.detach().clone()
    try:
        if change == "in place":
            with torch.no_grad():
                weight.mul_(1.5)
        else:
            weight.data = 1.5 * weight.data
        context = opened(member, TEXT)
        torch.testing.assert_close(context.logits()[0], afresh(member, context.ids[0]), atol=2e-4, rtol=1e-4)
    finally:
        weight.data = kept


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's own
def test_what_another_adapter_has_read_is_read_again() -> None:
    peft: Any = importlib.import_module("peft")
    model, tokenizer = small("llama", KIND, seed=7)
    config = peft.LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(copy.deepcopy(model), config, adapter_name="one")
    adapted.add_adapter("two", config)
    member = LocalMember(adapted.eval(), tokenizer)

    def check() -> None:
        context = opened(member, TEXT)
        torch.testing.assert_close(context.logits()[0], afresh(member, context.ids[0]), atol=2e-4, rtol=1e-4)

    for adapter in ("one", "two", "one"):
        adapted.set_adapter(adapter)
        check()
    with adapted.disable_adapter():
        check()
    check()
    for module in adapted.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("one", 3.0)
    check()


def test_weights_that_change_while_a_text_runs_are_noticed() -> None:
    tokenizer = SMALL[KIND]()
    member = LocalMember(random_model("llama", len(tokenizer), tokenizer.eos_token_id, seed=98), tokenizer)
    context = opened(member, TEXT)
    context.logits()
    weight = member.model.get_input_embeddings().weight
    kept = weight.detach().clone()
    try:
        weight.data = 1.5 * weight.data
        context.append([[" and"]])
        context.logits()
        context.close()
        again = opened(member, TEXT)
        torch.testing.assert_close(again.logits()[0], afresh(member, again.ids[0]), atol=2e-4, rtol=1e-4)
    finally:
        weight.data = kept


def test_a_collection_inside_of_a_call_may_keep_another_text() -> None:
    cache = prefixes.PrefixCache(torch.device("cpu"))
    texts = [[i, *range(100)] for i in range(3)]
    cache.keep(texts[0], list, None)

    def nested() -> list[Any]:
        cache.keep(texts[1], list, None)
        assert cache.find(texts[0], None) is not None
        return []

    cache.keep(texts[2], nested, None)
    assert all(cache.find(text, None) is not None for text in texts)


def test_texts_whose_logits_are_no_distribution_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    member = member_of("llama")
    read = type(member.causal).read
    monkeypatch.setattr(type(member.causal), "read", lambda *given: read(*given) * torch.nan)
    context = opened(member, TEXT)
    with pytest.raises(LogitsError, match="no distribution"):
        context.logits()
    context.close()
    monkeypatch.undo()
    with counted(member) as counts:
        opened(member, TEXT).logits()
    assert sum(counts) == len(member.encode_prompt(TEXT).ids)


def test_the_least_recently_used_text_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    member = member_of("llama")
    texts = [f"{name} {TEXT}" for name in ("Anna", "Bert", "Carl")]
    opened(member, texts[0]).logits()
    size = member.open([member.encode_prompt(texts[0])])
    bytes_of_one = len(size.ids[0]) * member.bytes_per_token
    monkeypatch.setattr(prefixes, "free_memory", lambda _: 22 * bytes_of_one)  # a tenth of it and what is kept: two
    opened(member, texts[1]).logits()
    opened(member, texts[0]).logits()  # used again
    opened(member, texts[2]).logits()
    for text, read_again in ((texts[0], False), (texts[2], False), (texts[1], True)):
        with counted(member) as counts:
            opened(member, text).logits()
        assert (sum(counts) > 10) == read_again


def test_members_without_a_cache_keep_nothing() -> None:
    with pytest.warns(UserWarning, match="no cache that can be rolled back"):
        member = member_of("mamba")
    assert member.causal.traits.cache_support is CacheSupport.NONE
    assert opened(member, TEXT).unread == [0]
