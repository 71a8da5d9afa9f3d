"""Healing is Bayes' rule over the covers of the last bytes that began in the prompt, in the member's own tokens."""

from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepen_llm.engine.healing import Healer
from deepen_llm.fusion.past import Trail
from deepen_llm.members.base import Reading
from deepen_llm.testing import SpellingMember, vocabulary_of
from tests.fusion.test_straddling import SEEDS, SURFACES, Foreseeing, Model, Path, paths, spelled

END = len(SURFACES)
MEMBER = SpellingMember("tiny", vocabulary_of(SURFACES, [END]), torch.empty(0))
SCALES = st.floats(0, 6)


def reading(model: Model) -> Reading:
    newest = [model.logits(model.own[:length]) for length in range(len(model.own), -1, -1)]
    return Reading(newest[0][None], [[len(model.own)]], [Trail.of(model.own[::-1], newest[1:])])


def healed(model: Model, answered: int) -> Reading:
    return Healer([MEMBER]).heal(0, reading(model), [answered])


def shares(found: Reading) -> Tensor:
    return found.logits[0].double().softmax(-1)


def covers(model: Model, answered: int) -> tuple[float, dict[Path, float]]:
    """The probability of the member's own tokens, and of each other cover of the text that goes on behind it.

    Of these only such as begin their last token in the prompt, behind the member's own tokens.
    """
    text = spelled(model.own)
    every = model.covers(text)
    begun = {
        path: p
        for path, p in every.straddling.items()
        if path[:-1] == model.own[: len(path) - 1] and len(text) - len(spelled(path[:-1])) > answered
    }
    return every.ending[model.own], begun


@given(SEEDS, SCALES, paths(), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_where_all_covers_are_known_the_next_byte_is_as_they_have_it(
    seed: int, scale: float, own: Path, answered: int
) -> None:
    model, text = Foreseeing(seed, scale, own), spelled(own)
    every = model.covers(text)
    following = defaultdict[bytes, float](float)
    for path, probability in every.straddling.items():
        if len(text) - len(spelled(path[:-1])) > answered:
            following[SURFACES[path[-1]][len(text) - len(spelled(path[:-1])) :][:1]] += probability
    here = model.logits(own).double().softmax(-1).tolist()
    for token, share in enumerate(here):
        following[(SURFACES[token] if token < END else b"")[:1]] += every.ending[own] * share
    total, found = sum(following.values()), shares(healed(model, answered))
    for byte in (b"a", b"b", b""):
        told = sum(float(p) for token, p in enumerate(found) if (SURFACES[token] if token < END else b"")[:1] == byte)
        assert told == pytest.approx(following[byte] / total, abs=2e-3)  # shares below 1e-4 are left out


@given(SEEDS, SCALES, paths(), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_a_rest_goes_to_the_token_that_begins_it_and_covers_that_nobody_read_are_left_out(
    seed: int, scale: float, own: Path, answered: int
) -> None:
    model, text = Model(seed, scale, own), spelled(own)
    here, begun = covers(model, answered)
    expected = here * model.logits(own).double().softmax(-1)
    for path, probability in begun.items():
        rest = SURFACES[path[-1]][len(text) - len(spelled(path[:-1])) :]
        expected[MEMBER.vocabulary.longest(rest)] += probability
    expected /= here + sum(begun.values())
    torch.testing.assert_close(shares(healed(model, answered)), expected, atol=2e-3, rtol=0)


@given(SEEDS, SCALES, paths())
@settings(max_examples=30, deadline=None)
def test_tokens_that_begin_in_the_answer_are_the_member_s_own_choice(seed: int, scale: float, own: Path) -> None:
    model = Model(seed, scale, own)
    plain = reading(model)
    assert torch.equal(healed(model, len(spelled(own))).logits, plain.logits)
    assert Healer([MEMBER]).heal(0, plain, [None]) is plain


def test_places_are_healed_apart() -> None:
    models = [Model(seed, 3.0, own) for seed, own in enumerate([(0, 1), (3,), (5, 2, 1)])]
    each, counts = [reading(model) for model in models], [0, None, 1]
    together = Reading(
        torch.cat([one.logits for one in each]),
        [one.lengths[0] for one in each],
        [one.trails[0] for one in each],
    )
    found = Healer([MEMBER]).heal(0, together, counts)
    alone = [Healer([MEMBER]).heal(0, one, [count]) for one, count in zip(each, counts, strict=True)]
    assert torch.equal(found.logits, torch.cat([one.logits for one in alone]))
    assert not torch.equal(found.logits[0], together.logits[0])
    assert torch.equal(found.logits[1], together.logits[1])
    assert [bool(one.straddlers) for one in found.evidence] == [True, False, True]


def test_a_rest_that_no_token_begins_stays_with_what_the_member_says() -> None:
    surfaces = [b"a", b"b", b"abz"]
    member = SpellingMember("no z", vocabulary_of(surfaces, [3]), torch.empty(0))
    before, after = torch.tensor([0.0, 0.0, 9.0, 0.0]), torch.tensor([0.0, 1.0, 0.0, 2.0])
    told = Reading(after[None], [[2]], [Trail.of((1, 0), (torch.zeros(4), before))])
    found = Healer([member]).heal(0, told, [0])
    (one,) = found.evidence[0].straddlers
    assert (one.behind, one.share > 0.99) == (b"ab", True)
    torch.testing.assert_close(shares(found), after.double().softmax(-1))
