"""What members have in common, by their names and in their tokens' own words."""

from functools import cache

import pytest

from deepen_llm import specialists
from deepen_llm.comparison import Comparison, compare
from deepen_llm.config import MemberConfig
from deepen_llm.errors import ConfigError
from deepen_llm.members.loading import load_members
from deepen_llm.members.local import LocalMember
from tests.fusion.members import Plain, random_member
from tests.models import small


@cache
def random_pair() -> tuple[LocalMember, LocalMember]:
    return LocalMember(*small("llama", "byte_level_bpe")), LocalMember(*small("gpt2", "sentencepiece_bpe"))


def only(members: object, **options: object) -> Comparison:
    [found] = compare(members, **options)  # type: ignore[arg-type]
    return found


def test_random_models_do_not_fit_specialists_do_and_a_model_fits_itself() -> None:
    atlas, webster = load_members([MemberConfig(path=str(specialists.path(name))) for name in ("atlas", "webster")])
    assert only(random_pair()).fit.verdict == "does not fit"
    found, same = only([atlas, webster]), only([atlas, atlas])
    assert found.fit.verdict == same.fit.verdict == "fits well"
    assert found.consistency
    assert same.consistency
    assert found.consistency.chance < found.consistency.mean < same.consistency.mean
    assert any("one family" in one.text for one in same.fit.reasons)


def test_tokens_are_named_from_the_most_to_the_least_consistent() -> None:
    found = only(random_pair())
    assert found.consistency
    most, least = found.most_consistent(found.anchors), found.least_consistent(5)
    assert most == found.least_consistent(found.anchors)[::-1]
    assert least == most[::-1][:5]
    values = [one.consistency for one in most]
    assert values == sorted(values, reverse=True)
    assert sorted(values) == sorted(found.consistency.values.tolist())
    assert "<end>" in found.texts
    assert found.texts.count("<end>") == 1


def test_pairs_come_first_and_then_all() -> None:
    three = [random_member(seed, 80, 60, 16) for seed in (1, 2, 3)]
    found = compare(three)
    assert [len(one.members) for one in found] == [2, 2, 2, 3]
    assert all(one.share == one.anchors / 80 for one in found)
    assert compare(three[:1]) == []


def test_scores_count_where_all_are_known() -> None:
    three = [random_member(seed, 600, 600, 32) for seed in (1, 2, 3)]
    first, second, third, everyone = compare(three, scores={"member 1": 0.9, "member 2": 0.2})
    assert first.fit.verdict == "does not fit"
    assert {one.fit.verdict for one in (second, third, everyone)} == {"fits well"}


def test_members_that_share_nothing_are_compared_all_the_same() -> None:
    left, right = (random_member(seed, 40, 0, 16) for seed in (1, 2))
    found = only([left, right])
    assert (found.anchors, found.texts, found.most_consistent()) == (0, (), [])
    assert found.fit.verdict == "does not fit"
    assert found.record()["consistency"] is None


def test_a_score_of_nobody_is_refused() -> None:
    pair: list[Plain] = [random_member(seed, 80, 60, 16) for seed in (1, 2)]
    with pytest.raises(ConfigError, match="a score of 'gpt2', which is no member") as caught:
        compare(pair, scores={"gpt2": 0.5})
    assert "member 1, member 2" in caught.value.hint
