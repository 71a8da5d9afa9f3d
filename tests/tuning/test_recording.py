"""Recorded members: the same answers, and no text is read twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from deepen_llm import EnsembleLLM
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import METHODS
from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.tuning.recording import Recording, recorded
from tests.models import small

PROMPTS = ["The sea is", "A b", "Über die Straße gehen 12 Leute"]


def members() -> list[Member]:
    return [
        LocalMember(*small("llama", "byte_level_bpe", 1), "first"),
        LocalMember(*small("qwen2", "unigram_byte_fallback", 2), "second"),
    ]


def answers(parts: list[Member], **settings: object) -> list[str]:
    llm = EnsembleLLM(parts, **settings)  # type: ignore[arg-type]
    return [output.text for output in llm.generate(PROMPTS, max_new_tokens=12)]


@contextmanager
def counted(member: Member) -> Iterator[list[int]]:
    """Counts a member's forwards."""
    count: list[int] = []
    assert isinstance(member, LocalMember)
    hook = member.model.register_forward_pre_hook(lambda *_: count.append(1))
    try:
        yield count
    finally:
        hook.remove()


@pytest.mark.parametrize(
    "settings", [*({"fusion": method} for method in METHODS), {"weights": "prompt"}, {"gate": "unsure"}]
)
def test_a_second_trial_reads_nothing_and_answers_the_same(tmp_path: Path, settings: dict[str, str]) -> None:
    parts = members()
    with recorded(parts, tmp_path) as kept:
        first = answers(kept, **settings)
        with counted(parts[0]) as reads, counted(parts[1]) as others:
            assert answers(kept, **settings) == first
        assert not reads
        assert not others
    assert first == answers(parts, **settings)


def test_another_process_goes_on_where_one_was_interrupted(tmp_path: Path) -> None:
    parts = members()
    with recorded(parts, tmp_path) as kept:
        whole = answers(kept)
    for file in tmp_path.glob("*.rows"):  # a row that was written in part
        file.write_bytes(file.read_bytes()[:-7])
    with recorded(parts, tmp_path) as kept:
        assert answers(kept) == whole
        with counted(parts[0]) as reads:
            assert answers(kept) == whole
        assert not reads


def test_one_model_twice_is_recorded_once(tmp_path: Path) -> None:
    first, second = members()
    both = [first, second, first]
    with recorded(both, tmp_path) as kept:
        whole = answers(kept)
    assert len(list(tmp_path.glob("*.rows"))) == 2
    with recorded(both, tmp_path) as kept, counted(first) as reads:
        assert answers(kept) == whole
        assert not reads


def test_other_weights_are_recorded_apart(tmp_path: Path) -> None:
    model, tokenizer = small("llama", "byte_level_bpe", 3)
    with recorded([LocalMember(model, tokenizer)], tmp_path) as kept:
        before = answers(kept)
    head = model.get_output_embeddings().weight.data
    original = head.clone()
    try:
        head.neg_()
        with recorded([LocalMember(model, tokenizer)], tmp_path) as kept:
            assert answers(kept) != before
    finally:
        head.copy_(original)


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.touch()
    with pytest.raises(ConfigError, match="cannot be written"), recorded(members(), file):
        pass


def test_rows_under_one_key_twice_do_not_shift_those_that_follow(tmp_path: Path) -> None:
    first, again = Recording(tmp_path / "logits", 2), Recording(tmp_path / "logits", 2)  # two processes, say
    for one in (first, again):
        one.keep([1], torch.tensor([1.0, 0.0]))
        one.close()
    reopened = Recording(tmp_path / "logits", 2)
    kept = reopened.keep([2], torch.tensor([0.0, 3.0]))
    found = reopened.recall([2])
    assert found is not None
    assert torch.equal(found, kept)
    reopened.close()
