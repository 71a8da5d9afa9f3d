"""Law 11: a member's evidence is Bayes' rule over the covers of the last bytes, and it abstains from the rest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepen_llm.fusion.past import Trail
from deepen_llm.fusion.surfaces.correspondence import Tokens
from deepen_llm.fusion.surfaces.expected import Evidence
from deepen_llm.fusion.surfaces.straddling import evidence
from deepen_llm.testing import SpellingMember, vocabulary_of

SURFACES = [b"a", b"b", b"ab", b"ba", b"bb", b"aba", b"bab", b"abb", b"abba", b"babab"]
TOKENS = Tokens(SpellingMember("tiny", vocabulary_of(SURFACES, [len(SURFACES)]), torch.empty(0)))
SEEDS = st.integers(0, 10**6)
Path = tuple[int, ...]


@dataclass
class Covers:
    """The probabilities of all ways to cover some bytes: those that end with them, and those that go on behind."""

    ending: dict[Path, float] = field(default_factory=dict)
    straddling: dict[Path, float] = field(default_factory=dict)


class Model:
    """A random distribution after every path of tokens."""

    def __init__(self, seed: int, scale: float, own: Path = (), unfinished: bytes = b"") -> None:
        self.seed, self.scale, self.own, self.unfinished = seed, scale, own, unfinished

    def logits(self, path: Path) -> Tensor:
        made = torch.Generator().manual_seed(hash((self.seed, path)) % 2**60)
        return self.scale * torch.randn(len(SURFACES) + 1, generator=made)

    def covers(self, text: bytes) -> Covers:
        found = Covers()
        self._cover(found, (), text, 1.0)
        return found

    def _cover(self, found: Covers, path: Path, text: bytes, probability: float) -> None:
        p = self.logits(path).double().softmax(-1).tolist()
        for token, surface in enumerate(SURFACES):
            longer = (*path, token)
            if text == surface:
                found.ending[longer] = probability * p[token]
            elif text.startswith(surface):
                self._cover(found, longer, text[len(surface) :], probability * p[token])
            elif surface.startswith(text):
                found.straddling[longer] = probability * p[token]

    def evidence(self, *, guess: float = 0.25, abstain: bool = True) -> Evidence:
        newest = [self.logits(self.own[:length]) for length in range(len(self.own), -1, -1)]
        trail = Trail.of(self.own[::-1], newest[1:])
        return evidence(TOKENS, newest[0], trail, self.unfinished, guess=guess, abstain=abstain)


class Foreseeing(Model):
    """One that says nothing on the way to its own path's end that others could only guess at."""

    def logits(self, path: Path) -> Tensor:
        logits, text = super().logits(path), spelled(self.own) + self.unfinished
        left = text[len(spelled(path)) :]
        if self.own[: len(path)] == path and left:
            own = self.own[len(path)] if len(path) < len(self.own) else None
            for token, surface in enumerate(SURFACES):
                if left.startswith(surface) and token != own:
                    logits[token] = -torch.inf
        return logits


def spelled(path: Sequence[int]) -> bytes:
    return b"".join(SURFACES[token] for token in path)


def paths(least: int = 1) -> st.SearchStrategy[Path]:
    return st.lists(st.integers(0, 5), min_size=least, max_size=4).map(tuple)


def shares(one: Evidence, own: Path) -> dict[Path, float]:
    return {(*own[: len(own) - part.back], part.token): part.share for part in one.straddlers}


@given(SEEDS, st.floats(0, 12), paths(), st.sampled_from([b"", b"a", b"ba"]))
@settings(max_examples=60, deadline=None)
def test_where_all_covers_are_known_it_is_the_sum_over_them(seed: int, scale: float, own: Path, rest: bytes) -> None:
    model = Foreseeing(seed, scale, own, rest)
    covers = model.covers(spelled(own) + rest)
    assert {path for path, p in covers.ending.items() if p} == (set() if rest else {own})
    total = sum(covers.ending.values()) + sum(covers.straddling.values())
    found = model.evidence()
    assert found.here == pytest.approx(covers.ending.get(own, 0.0) / total, abs=1e-6)
    assert found.abstained == pytest.approx(0, abs=1e-12)
    told = shares(found, own)
    assert told.keys() <= covers.straddling.keys()
    for path, probability in covers.straddling.items():
        assert told.get(path, 0.0) == pytest.approx(probability / total, abs=1e-6 if path in told else 1.001e-4)


@given(SEEDS, st.floats(0, 12), paths(), st.sampled_from([b"", b"a", b"ba"]), st.sampled_from([0.0, 0.25, 1.0]))
@settings(max_examples=60, deadline=None)
def test_what_is_known_is_right_and_the_rest_is_guessed_and_abstained_from(
    seed: int, scale: float, own: Path, rest: bytes, guess: float
) -> None:
    model, text = Model(seed, scale, own, rest), spelled(own) + rest
    covers = model.covers(text)
    known = {path: p for path, p in covers.straddling.items() if path[:-1] == own[: len(path) - 1]}
    here = 0.0 if rest else covers.ending[own]
    first = 1.0  # the probability of the own path until a token that leaves it, and has the text's next bytes
    unknown = 0.0
    for length in range(len(own) + bool(rest)):
        p = model.logits(own[:length]).double().softmax(-1).tolist()
        left = text[len(spelled(own[:length])) :]
        for token, surface in enumerate(SURFACES):
            if left.startswith(surface) and own[length : length + 1] != (token,):
                unknown += first * p[token] * (guess ** (len(left) - len(surface)) if guess else 0.0)
        first *= p[own[length]] if length < len(own) else 1.0
    total = here + sum(known.values()) + unknown
    found, told = model.evidence(guess=guess), shares(model.evidence(guess=guess), own)
    if not total:
        assert (found.here, told, found.abstained) == (0.0, {}, 1.0)
        return
    assert found.here == pytest.approx(here / total, abs=1e-6)
    assert found.abstained == pytest.approx(unknown / total, abs=1e-6)
    assert told == pytest.approx({path: known[path] / total for path in told}, abs=1e-6)
    assert all(p / total < 1.001e-4 for path, p in known.items() if path not in told)
    trusting = model.evidence(guess=guess, abstain=False)
    assert trusting.straddlers == found.straddlers
    assert trusting.here == pytest.approx(found.here + (0.0 if rest else found.abstained))


@given(SEEDS, st.sampled_from([70.0, 200.0, 1e4]), paths(), st.sampled_from([b"", b"a"]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_nothing_overflows_where_a_text_is_all_but_impossible(
    seed: int, scale: float, own: Path, rest: bytes, abstain: bool
) -> None:
    found = Model(seed, scale, own, rest).evidence(abstain=abstain)
    parts = [found.here, found.abstained, *(part.share for part in found.straddlers)]
    assert all(math.isfinite(part) and 0 <= part <= 1 for part in parts)
    assert sum(parts) == pytest.approx(1, abs=2e-3)


def test_a_word_that_was_foreseen_is_heard_however_unlikely_its_beginning_is() -> None:
    model = Model(0, 0.0, (0, 1))
    logits = torch.full((len(SURFACES) + 1,), -69.0)  # 1e-30
    logits[SURFACES.index(b"abba")] = 0.0
    nonsense = model.logits(()).clone()
    found = evidence(TOKENS, nonsense, Trail.of((1, 0), [logits, logits]), b"", guess=0.25, abstain=True)
    (part,) = found.straddlers
    assert (SURFACES[part.token], part.behind, part.back) == (b"abba", b"ab", 2)
    assert part.share == pytest.approx(1)


def test_without_a_trail_only_what_begins_here_counts() -> None:
    assert evidence(TOKENS, Model(0, 3.0).logits(()), Trail.of(), b"", guess=0.25, abstain=True) == Evidence(1.0)


def test_inside_a_character_nobody_is_sure_of_it_by_being_sure_of_its_first_byte() -> None:
    """The byte piece covers all that is unfinished, so what the member says next is unknown."""
    surfaces = [b"\xf0", b"\x9f", "🚀".encode(), "😀".encode(), b"x"]
    tokens = Tokens(SpellingMember("bytes", vocabulary_of(surfaces), torch.empty(0)))
    logits = torch.tensor([20.0, 0.0, 8.0, 0.0, 0.0])
    found = evidence(tokens, logits, Trail.of(), b"\xf0", guess=0.25, abstain=True)
    assert found.here == 0
    assert found.abstained > 0.999
    whole = evidence(tokens, logits.roll(2), Trail.of(), b"\xf0\x9f", guess=0.25, abstain=True)
    assert [(surfaces[part.token], round(part.share, 3)) for part in whole.straddlers] == [("🚀".encode(), 1.0)]
