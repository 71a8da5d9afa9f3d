"""How alike members see shared anchors, by their names and in their tokens' own words."""

from functools import cache

from deepen_llm import specialists
from deepen_llm.diagnostics.anchor_comparison import AnchorComparison, compare_anchors
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_members
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import random_member
from tests.models import small


@cache
def random_pair() -> tuple[LocalMember, LocalMember]:
    return LocalMember(*small("llama", "byte_level_bpe")), LocalMember(*small("gpt2", "sentencepiece_bpe"))


def only(members: object) -> AnchorComparison:
    [found] = compare_anchors(members)  # type: ignore[arg-type]
    return found


def test_a_model_is_most_consistent_with_itself_and_random_models_hardly_beyond_chance() -> None:
    atlas, webster = load_members([MemberConfig(path=str(specialists.path(name))) for name in ("atlas", "webster")])
    found, same, none = only([atlas, webster]).consistency, only([atlas, atlas]).consistency, only(random_pair())
    assert found.chance + 0.03 < found.mean < same.mean
    assert none.consistency.mean < none.consistency.chance + 0.02


def test_tokens_are_named_from_the_most_to_the_least_consistent() -> None:
    found = only(random_pair())
    most, least = found.most_consistent(found.anchors), found.least_consistent(5)
    assert most == found.least_consistent(found.anchors)[::-1]
    assert least == most[::-1][:5]
    values = [one.consistency for one in most]
    assert values == sorted(values, reverse=True)
    assert sorted(values) == sorted(found.consistency.values.tolist())
    assert found.texts.count("<end>") == 1


def test_pairs_come_first_then_all_and_those_that_share_nothing_are_left_out() -> None:
    three = [random_member(seed, 80, 60, 16) for seed in (1, 2, 3)]
    assert [len(one.members) for one in compare_anchors(three)] == [2, 2, 2, 3]
    assert compare_anchors([random_member(seed, 40, 0, 16) for seed in (1, 2)]) == []
