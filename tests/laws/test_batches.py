"""Rows that come and go: a row that ends makes room for a prompt that waits, as far as memory allows."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import PreTrainedModel

from deepen_llm import EnsembleLLM
from deepen_llm.engine import scheduler
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.fusion import FixedWeights, Surface
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.memory import free_memory
from deepen_llm.members.transformers_api import cache_of
from deepen_llm.testing import scripted
from tests.laws.test_decoding import PROMPTS
from tests.models import small
from tests.tokenizers import SMALL

TEXT = "The quick brown fox jumps over the lazy dog and the fox are here and they were there"
WORDS = TEXT.split()


@contextmanager
def rows_read(model: PreTrainedModel) -> Iterator[list[int]]:
    """The number of rows of each forward."""
    counts: list[int] = []

    def count(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        counts.append(len(given["input_ids"]))

    with model.register_forward_pre_hook(count, with_kwargs=True):
        yield counts


@pytest.mark.parametrize("draft_tokens", [0, 3])
def test_a_row_that_ends_makes_room_at_once(draft_tokens: int) -> None:
    members = [scripted(SMALL[kind](), "", TEXT) for kind in ("byte_level_bpe", "sentencepiece_bpe")]
    starts = [" ".join(WORDS[:count]) for count in (2, 15, 13, 11, 9, 14)]
    alone = [EnsembleLLM(members).generate(start, max_new_tokens=99) for start in starts]
    assert [start + out.text for start, out in zip(starts, alone, strict=True)] == [TEXT] * len(starts)
    lengths = [len(out.tokens) for out in alone]
    llm = EnsembleLLM(members, batch_size=2, draft_tokens=draft_tokens)
    with rows_read(members[0][0]) as rows:
        assert llm.generate(starts, max_new_tokens=99) == alone
    assert max(rows) == 2
    if not draft_tokens:  # groups that wait for their longest answer would take 58 forwards
        assert len(rows) <= sum(lengths) / 2 + 2 * len(lengths)


def test_memory_bounds_the_rows_in_flight() -> None:
    members = [LocalMember(*small("llama", kind)) for kind in ("byte_level_bpe", "sentencepiece_bpe")]
    llm = EnsembleLLM(members)
    expected = llm.generate(PROMPTS, max_new_tokens=8)
    free = free_memory(torch.device("cpu"))
    if free is None:
        pytest.skip("this system does not tell how much memory is free")
    for share, most in ((2, 1), (8, 2)):  # a row's cache as a share of the free memory, in each of two members
        for member in members:
            member.bytes_per_token = free // (share * 256)
        with rows_read(members[0].model) as rows:
            assert llm.generate(PROMPTS, max_new_tokens=8) == expected
        assert 1 <= max(rows) <= most


def test_logits_that_fusion_looks_back_at_take_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [LocalMember(*small("llama", kind)) for kind in ("byte_level_bpe", "sentencepiece_bpe")]
    other = members[1]
    caches = 2 * 256 * sum(member.bytes_per_token for member in members)  # the smallest buffers, twice while they grow
    for straddle in (0, 4):
        kept = straddle * 4 * other.vocabulary.size
        ensemble = Ensemble(members, 0, Surface(straddle=straddle).prepare(members, 0), FixedWeights([1, 1]), "fused")
        monkeypatch.setattr(scheduler, "free_memory", lambda _, room=(2 * (caches + kept) + 1) / 0.8: room)
        memory = scheduler.CacheBudget(ensemble)
        assert [memory.holds(rows, [10, 10]) for rows in (2, 3)] == [True, False]


def test_a_cache_is_known_to_the_byte() -> None:
    member = LocalMember(*small("llama", "byte_level_bpe"))
    out = member.model(torch.tensor([[1, 2, 3]]), use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache_of(out).layers)
    assert member.bytes_per_token == held / 3
