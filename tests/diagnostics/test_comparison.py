"""Which members are worth fusing: verdicts where it is known what the members know."""

import json
from functools import cache

import pytest
import torch

from deepen_llm import specialists
from deepen_llm.diagnostics.comparison import Comparison, compare, one_to_one
from deepen_llm.errors import ConfigError
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_members
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import SpellingMember, vocabulary_of
from deepen_llm.tuning.answered import MemberAnswers, ask
from deepen_llm.tuning.dataset import read_examples
from deepen_llm.tuning.metrics import Measure
from deepen_llm.tuning.scoring import scores
from tests.models import small


@cache
def two() -> list[LocalMember]:
    return load_members([MemberConfig(path=str(specialists.path(name))) for name in ("atlas", "webster")])


@cache
def answered() -> dict[str, MemberAnswers]:
    return ask(two(), read_examples(specialists.file("dev"), chat=True)[::3])


def spelled(name: str, *surfaces: bytes) -> SpellingMember:
    return SpellingMember(name, vocabulary_of([*surfaces, None], [len(surfaces)]), embedding_of(two()[0]))


def only(members: object, *given: object) -> Comparison:
    [found] = compare(members, *given)  # type: ignore[arg-type]
    return found


def test_specialists_complement_each_other_and_a_model_has_nothing_to_tell_itself() -> None:
    found = only(two(), answered())
    assert found.verdict == "worth trying"
    assert found.overlap
    assert found.overlap.gain.low > 0.1
    assert found.main == found.members[found.overlap.best]
    best, other = sorted(found.members, key=lambda name: -answered()[name].share)
    assert f"worth trying: of what {best} gets wrong, {other} answers " in found.reason
    for member in two():
        same = only([member, member], answered())
        assert same.verdict == "use one alone"
        assert same.reason.startswith(f"use {member.name} alone: of what {member.name} gets wrong")
        assert same.overlap
        assert same.overlap.recovered
        assert same.overlap.recovered.value == same.overlap.gain.value == 0
        assert same.one_to_one == (1.0, 1.0)


def test_a_member_that_is_sure_of_nonsense_is_better_left_out_and_the_loss_is_foretold() -> None:
    honest, liar = load_members([MemberConfig(path=str(specialists.path(name))) for name in ("webster", "atlas")])
    words = torch.tensor([id_ for id_, one in enumerate(liar.vocabulary.surfaces) if one and one[:1] == b" "])

    def lie(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        return 10 * logits.index_copy(-1, words, logits[..., words.roll(7)])

    liar.model.get_output_embeddings().register_forward_hook(lie)
    examples = read_examples(specialists.file("dev"), chat=True)[::3]
    found = only([honest, liar], ask([honest, liar], examples))
    assert found.verdict == "use one alone"
    assert found.overlap
    assert found.overlap.gain.high < 0
    fused = scores(EnsembleLLM([honest, liar]), examples, Measure.of(None, examples))
    gain = sum(fused) / len(fused) - found.overlap.right[0].value
    assert found.overlap.gain.low <= gain <= found.overlap.gain.high


def test_members_know_what_they_know() -> None:
    for one in answered().values():
        right, wrong = one.sureness(right=True), one.sureness(right=False)
        assert right
        assert wrong
        assert right > wrong + 0.3
        assert len(one.right) == len(one.logprobs) == 60


def test_without_answers_nothing_is_promised() -> None:
    found = only(two())
    assert (found.verdict, found.overlap, found.main) == ("not known", None, None)
    assert "development set" in found.reason
    assert found.shared / min(member.vocabulary.tokenizer_size for member in two()) == found.share
    assert json.loads(json.dumps(found.record()))["verdict"] == "not known"


def test_longer_tokens_map_one_to_one_and_shorter_ones_make_the_main_model() -> None:
    long, short = spelled("long", b"ab", b"ac", b"b", b"c"), spelled("short", b"a", b"b", b"c")
    assert one_to_one(long, short) == 1.0
    assert one_to_one(short, long) == pytest.approx(2 / 3)  # "a" may begin both "ab" and "ac"
    found = only([long, short])
    assert found.one_to_one == pytest.approx((2 / 3, 1.0))
    assert found.main == "short"
    assert found.shared == 3  # two tokens, and the end


def test_members_that_share_nothing_are_compared_all_the_same() -> None:
    surfaces = ([b"a", b"b"], [b"c"])
    left, right = (SpellingMember(f"{i}", vocabulary_of(one), embedding_of(two()[0])) for i, one in enumerate(surfaces))
    found = only([left, right])
    assert (found.shared, found.share, found.one_to_one) == (0, 0.0, (0.0, 0.0))


def test_pairs_come_first_and_then_all() -> None:
    three = [spelled(name, b"a", name.encode()) for name in ("one", "two", "three")]
    said = {one.name: MemberAnswers((True, False), (-0.1, -2.0)) for one in three} | {
        "three": MemberAnswers((False, True), (-1.0, -1.0))
    }
    found = compare(three, said)
    assert [len(one.members) for one in found] == [2, 2, 2, 3]
    assert compare(three[:1]) == []
    assert "of what one gets wrong, one of two, three answers 100 % right" in found[-1].reason


def test_members_that_were_not_asked_are_named() -> None:
    with pytest.raises(ConfigError, match="got none of webster"):
        compare(two(), {"atlas": answered()["atlas"]})


def test_choices_are_answered_by_the_likeliest() -> None:
    member = LocalMember(*small("llama", "byte_level_bpe"))
    lines = [{"prompt": f"{i} is", "choices": [" small", " large"], "answer": i % 2} for i in range(30)]
    found = ask([member], lines)[member.name]
    assert all(-0.7 < one < 0 for one in found.logprobs)  # the likelier one of two
    assert any(found.right)
