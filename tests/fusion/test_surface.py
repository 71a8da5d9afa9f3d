"""`surface`: the formulas restated over dense tables, and what follows for any members."""

import itertools
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepen_llm.errors import ConfigError
from deepen_llm.fusion import Surface
from deepen_llm.fusion.base import Fusion
from deepen_llm.fusion.past import Past, Trail
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import FusibleMember, SpellingMember, random_logits, vocabulary_of
from tests.models import small
from tests.tokenizers import SMALL

KINDS = list(SMALL)
PAIRS = list(itertools.permutations(KINDS, 2))
PROMPT, TEXTS = "The quick brown fox", ["", " j", " jum", " and the d", " 19", " Zwölf Bo", " 你", "\n\n  "]
UNFINISHED = ["🚀".encode()[:1], "🚀".encode()[:2], "ж".encode()[:1]]
PLACES = [(text, b"") for text in TEXTS] + [(" and ", rest) for rest in UNFINISHED]


@cache
def member(kind: str) -> LocalMember:
    return LocalMember(*small("llama", kind, seed=KINDS.index(kind)))


@cache
def fusion_of(kinds: tuple[str, ...], method: Surface) -> Fusion:
    return method.prepare([member(kind) for kind in kinds], 0)


@cache
def heard(kind: str, back: int) -> tuple[Tensor, list[Trail]]:
    """A member's logits and trails at all places."""
    one = member(kind)
    context = one.open([one.encode_prompt(PROMPT)] * len(PLACES), back=back)
    context.append([[text] for text, _ in PLACES])
    reading = context.read([()] * len(PLACES))
    return reading.logits, list(reading.trails)


class Restated:
    """Sections 1.1 to 1.3 of the method's description, with its changes b and f, in tables of all tokens."""

    def __init__(self, other: LocalMember, main: LocalMember, method: Surface) -> None:
        self.other, self.main, self.method = other, main, method
        self.of_other, self.of_main = other.vocabulary.surfaces, main.vocabulary.surfaces
        self.edges = torch.zeros(len(self.of_other), len(self.of_main), dtype=torch.bool)
        self.own = torch.zeros_like(self.edges)
        for u, v in zip(*self.firsts(main, self.of_other), strict=True):
            self.edges[u, v] = self.own[u, v] = True
        for v, u in zip(*self.firsts(other, self.of_main), strict=True):
            self.edges[u, v] = True
        ends = other.vocabulary.end_of_text[0], main.vocabulary.end_of_text[0]
        self.edges[ends] = self.own[ends] = True

    @staticmethod
    def firsts(one: LocalMember, surfaces: Sequence[bytes | None]) -> tuple[list[int], list[int]]:
        ids = [id_ for id_, surface in enumerate(surfaces) if surface]
        found = one.first_tokens([surfaces[id_] or b"" for id_ in ids])
        return [id_ for id_, first in zip(ids, found, strict=True) if first >= 0], [one for one in found if one >= 0]

    def evidence(self, logits: Tensor, trail: Trail, rest: bytes) -> tuple[float, dict[tuple[bytes, int], float]]:
        """``(e here, e(k, u))``."""
        rest = trail.dropped + rest
        method, behind, path, a = self.method, rest, 1.0, 0.0
        x: dict[tuple[bytes, int], float] = {}
        for k, one in enumerate([logits, *trail.logits]):
            p = one.double().softmax(-1)
            own = trail.tokens[k - 1] if k else None
            if own is not None:
                behind, path = (self.of_other[own] or b"") + behind, path * float(p[own])
            for u, surface in enumerate(self.of_other if behind else ()):
                if not surface:
                    continue
                if surface.startswith(behind) and surface != behind:
                    x[behind, u] = float(p[u]) / path
                elif behind.startswith(surface) and u != own and self.other.vocabulary.ids[surface] == u:
                    a += float(p[u]) * method.guess ** (len(behind) - len(surface)) / path
        here = 0.0 if rest else 1.0
        z = here + a + sum(x.values())
        here += 0.0 if method.abstain or rest else a
        if not z:
            return 0.0, {}
        return here / z, {one: share / z for one, share in x.items() if share / z >= 1e-4}

    def q(self, logits: Tensor, found: tuple[float, dict[tuple[bytes, int], float]], prior: Tensor) -> Tensor:
        here, straddling = found
        weights = torch.where(self.edges, prior + self.method.floor * self.own + 1e-12, 0.0)  # [V_i, V_m]
        of_token = weights.sum(-1, keepdim=True)
        rows = torch.where(of_token > 0, weights / of_token, prior)
        q = here * logits.double().softmax(-1) @ rows
        for (behind, u), share in straddling.items():
            first, longer = self.candidates(behind, u)
            candidates = {v: prior[v] + self.method.floor * (v == first) + 1e-12 for v in {first, *longer} - {-1}}
            total = sum(candidates.values())
            for v, weight in candidates.items():
                q[v] += share * weight / total
            q += 0.0 if candidates else share * prior
        return q

    @cache  # noqa: B019 - these live as long as their test
    def candidates(self, behind: bytes, u: int) -> tuple[int, list[int]]:
        """The first main token of what is left of a straddling token, and those that go on behind it."""
        rest = (self.of_other[u] or b"")[len(behind) :]
        ids = [v for v, one in enumerate(self.of_main) if one and one.startswith(rest) and one != rest]
        firsts = self.other.first_tokens([behind + (self.of_main[v] or b"") for v in ids])
        return self.main.first_tokens([rest])[0], [v for v, first in zip(ids, firsts, strict=True) if first == u]


def restated(
    tables: Sequence[Restated], logits: Sequence[Tensor], weights: Tensor, trails: Sequence[Trail], rest: bytes
) -> Tensor:
    """The fused distribution at one place, ``[V_m]``."""
    main = fused = logits[0].double().softmax(-1)
    own, trusts, rounds = weights[0], weights[1:], tables[0].method.rounds
    found = [one.evidence(said, trail, rest) for one, said, trail in zip(tables, logits[1:], trails, strict=True)]
    totals = torch.tensor([here + sum(straddling.values()) for here, straddling in found])
    for _ in range(rounds):
        others = [one.q(said, what, fused) for one, said, what in zip(tables, logits[1:], found, strict=True)]
        fused = (own * main + (trusts[:, None] * torch.stack(others)).sum(0)) / (own + (trusts * totals).sum())
    return fused


METHODS = [Surface(), Surface(rounds=1, abstain=False, floor=0.0), Surface(rounds=3, guess=1.0, straddle=2, floor=0.3)]


def main_logits(kind: str, seed: int, scale: float = 1.0) -> Tensor:
    """Logits ``[places, V_m]``; of this scale no token is so unlikely as not to be asked for."""
    made = torch.Generator().manual_seed(seed)
    return scale * torch.randn(len(PLACES), member(kind).vocabulary.size, generator=made)


def case(kinds: Sequence[str], method: Surface, seed: int = 1, scale: float = 1.0) -> tuple[list[Tensor], Past]:
    """Logits and past at all places."""
    others = [heard(kind, method.straddle) for kind in kinds[1:]]
    logits = [main_logits(kinds[0], seed, scale), *(one / 3 for one, _ in others)]
    return logits, Past([(), *(trails for _, trails in others)], [rest for _, rest in PLACES])


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_it_equals_its_formulas_over_dense_tables(pair: tuple[str, str]) -> None:
    method = METHODS[PAIRS.index(pair) % len(METHODS)]
    logits, past = case(pair, method)
    weights = torch.tensor([[0.4, 0.6]] * len(PLACES))
    fused = fusion_of(pair, method).fuse(logits, weights, past).softmax(-1).double()
    tables = [Restated(member(pair[1]), member(pair[0]), method)]
    for place, (_, rest) in enumerate(PLACES):
        here = [one[place] for one in logits]
        expected = restated(tables, here, weights[place], [past.trails[1][place]], rest)
        torch.testing.assert_close(fused[place], expected, atol=1e-6, rtol=1e-4)


def test_three_members_equal_the_formulas_too() -> None:
    kinds, method = ("wordpiece", "byte_level_bpe", "unigram_byte_fallback"), Surface()
    logits, past = case(kinds, method)
    weights = torch.tensor([[0.2, 0.3, 0.5]] * len(PLACES))
    fused = fusion_of(kinds, method).fuse(logits, weights, past).softmax(-1).double()
    tables = [Restated(member(kind), member(kinds[0]), method) for kind in kinds[1:]]
    for place, (_, rest) in enumerate(PLACES):
        here, trails = [one[place] for one in logits], [past.trails[i][place] for i in (1, 2)]
        torch.testing.assert_close(
            fused[place], restated(tables, here, weights[place], trails, rest), atol=1e-6, rtol=1e-4
        )


OPTIONS = st.builds(
    Surface,
    rounds=st.integers(1, 4),
    straddle=st.sampled_from([0, 1, 4]),
    guess=st.sampled_from([0.0, 0.25, 1.0]),
    abstain=st.booleans(),
    floor=st.sampled_from([0.0, 0.01, 1.0]),
)


@given(
    method=OPTIONS,
    kinds=st.permutations(KINDS).map(lambda kinds: tuple(kinds[:3])),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.0, 3.0, 60.0]),
    weights=st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any),
)
@settings(max_examples=40, deadline=None)
def test_it_is_a_distribution_without_being_normalised(
    method: Surface, kinds: tuple[str, ...], seed: int, scale: float, weights: list[int]
) -> None:
    logits, past = case(kinds, method, seed, scale)
    shares = torch.tensor([weights] * len(PLACES)) / sum(weights)
    fused = fusion_of(kinds, method).fuse(logits, shares, past)
    assert not fused.isnan().any()
    q = (fused - logits[0].logsumexp(-1, keepdim=True)).exp()  # fused logits have the scale of the main model's
    torch.testing.assert_close(q.sum(-1), torch.ones(len(PLACES)), atol=2e-5, rtol=0)
    if weights[0] == sum(weights):
        assert torch.equal(fused, logits[0])


def test_a_place_of_the_main_model_alone_keeps_its_logits_to_the_bit_beside_others() -> None:
    logits, past = case(("wordpiece", "sentencepiece_bpe"), Surface(), scale=5.0)
    weights = torch.tensor([[1.0, 0.0], *[[0.3, 0.7]] * (len(PLACES) - 1)])
    fused = fusion_of(("wordpiece", "sentencepiece_bpe"), Surface()).fuse(logits, weights, past)
    assert torch.equal(fused[0], logits[0][0])
    assert not torch.equal(fused[1], logits[0][1])


@pytest.mark.parametrize("portion", [1, 3])
def test_places_and_portions_are_fused_as_one_by_one(portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds, method = ("byte_level_bpe", "sentencepiece_bpe", "wordpiece"), Surface()
    fusion, (logits, past) = fusion_of(kinds, method), case(kinds, method)
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]).repeat(4, 1)[
        : len(PLACES)
    ]
    whole = fusion.fuse(logits, weights, past)
    for one in (slice(place, place + 1) for place in range(len(PLACES))):
        alone = fusion.fuse([own[one] for own in logits], weights[one], past.part(one))
        torch.testing.assert_close(alone, whole[one])
    monkeypatch.setattr(fusion, "_portion", portion)
    torch.testing.assert_close(fusion.fuse(logits, weights, past), whole)


def permuted(one: FusibleMember) -> tuple[SpellingMember, Tensor]:
    """A member with the same tokens in another order, and its ids' ids in the first one."""
    order = torch.randperm(len(one.vocabulary.surfaces), generator=torch.Generator().manual_seed(3))
    surfaces = [one.vocabulary.surfaces[i] for i in order.tolist()]
    ends = [order.tolist().index(end) for end in one.vocabulary.end_of_text]
    return SpellingMember("permuted", vocabulary_of(surfaces, ends), torch.empty(0)), order


NESTED = [bytes(one) for size in (1, 2, 3) for one in itertools.product(b"abc", repeat=size)]
ONE = SpellingMember("one", vocabulary_of([*NESTED, None, None], [len(NESTED), len(NESTED) + 1]), torch.empty(0))


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_same_tokens_in_another_order_are_averaged_with_and_without_several_ends_of_text(rounds: int) -> None:
    other, order = permuted(ONE)
    assert other.vocabulary.fingerprint != ONE.vocabulary.fingerprint
    logits = [random_logits(ONE, 3, 1), random_logits(ONE, 3, 2)]
    fusion = Surface(rounds=rounds).prepare([ONE, other], 0)
    fused = fusion.fuse([logits[0], logits[1][:, order]], torch.tensor([[0.3, 0.7]] * 3)).softmax(-1)
    p = 0.3 * logits[0].softmax(-1) + 0.7 * logits[1].softmax(-1)
    surfaces = len(NESTED)
    torch.testing.assert_close(fused[:, :surfaces], p[:, :surfaces])
    torch.testing.assert_close(fused[:, surfaces:].sum(-1), p[:, surfaces:].sum(-1))
    share = logits[0][:, surfaces:].softmax(-1)  # of the ends of text, as the main model had it
    torch.testing.assert_close(fused[:, surfaces:] / fused[:, surfaces:].sum(-1, keepdim=True), share)


def test_equal_vocabularies_are_averaged_whatever_was_read_before() -> None:
    wider = SpellingMember(
        "wider", vocabulary_of(list(ONE.vocabulary.surfaces), [len(NESTED)], padding=8), torch.empty(0)
    )
    logits = [random_logits(ONE, 2, 1), random_logits(wider, 2, 2)]
    logits[1][:, ONE.vocabulary.size :] = -torch.inf
    past = Past([(), ()], [b"", b"a"])
    fused = Surface().prepare([ONE, wider], 0).fuse(logits, torch.tensor([[0.3, 0.7]] * 2), past).softmax(-1)
    p = 0.3 * logits[0].softmax(-1) + 0.7 * logits[1].softmax(-1)[:, : ONE.vocabulary.size]
    torch.testing.assert_close(fused[:, : len(NESTED)], p[:, : len(NESTED)])
    torch.testing.assert_close(fused[:, len(NESTED) :].sum(-1), p[:, len(NESTED) :].sum(-1))


def test_the_end_of_text_goes_to_the_end_of_text_however_many_ids_it_has() -> None:
    end = len(NESTED)
    single = SpellingMember("single", vocabulary_of([*NESTED[::-1], None], [end]), torch.empty(0))
    sure = torch.full((1, end + 1), -50.0)
    sure[0, end] = 0.0
    for pair, said in (([ONE, single], sure), ([single, ONE], torch.cat([sure[:, :end], sure[:, [0, end]]], 1))):
        main = random_logits(pair[0], 1, 4)
        fused = Surface().prepare(pair, 0).fuse([main, said], torch.tensor([[0.5, 0.5]])).softmax(-1)
        own = float(main.softmax(-1)[0, end:].sum())
        assert float(fused[0, end:].sum()) == pytest.approx(0.5 + 0.5 * own, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.text(min_size=1, max_size=8), max_size=12))
@settings(max_examples=15, deadline=None)
def test_first_tokens_begin_their_texts(kind: str, texts: list[str]) -> None:
    one = member(kind)
    asked = [text.encode("utf-8", "ignore") for text in texts]
    for text, first in zip(asked, one.first_tokens(asked), strict=True):
        assert first < 0 or text.startswith(one.vocabulary.surfaces[first] or b"-")


def test_a_member_without_first_tokens_is_told_what_to_do() -> None:
    plain = FusibleMember("plain", ONE.vocabulary, torch.empty(0))
    with pytest.raises(
        ConfigError, match="expected a member with a method first_tokens for fusion='surface', got plain"
    ) as raised:
        Surface().prepare([ONE, plain], 0)
    assert "fusion='bayes'" in str(raised.value)
