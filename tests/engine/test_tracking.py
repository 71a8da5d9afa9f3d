"""Weights that track which member foresaw the text so far."""

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm import EnsembleLLM, FusionMethod, TrackWeights, specialists
from deepen_llm.engine import given as given_sequences
from deepen_llm.fusion import Likelihood
from deepen_llm.fusion.weights.tracking import AWAKE
from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from research.specialists.knowledge import SUBJECTS
from research.specialists.phrasing import STATEMENTS, fill
from tests.engine.test_weights import SPELLED, own_logprobs, pair, weights_of
from tests.fusion.registered import FUSIONS
from tests.laws.test_decoding import PROMPTS
from tests.models import small

Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]
QUICK = TrackWeights(gamma=0.5, horizon=20, credit="all")
MIXTURES = [fusion for fusion in FUSIONS if fusion.mixes]


@pytest.mark.parametrize("prompt", [*PROMPTS[:2], SPELLED])
def test_an_answer_begins_with_the_weights_of_its_prompt(prompt: str) -> None:
    members, scores = pair(), []
    for model, tokenizer in members:
        member = LocalMember(model, tokenizer)
        ids = member.encode_prompt(prompt).ids
        sizes = [len(member.vocabulary.surfaces[id_] or b"") for id_ in ids]
        fading = [math.exp(-sum(sizes[place:]) / 30) for place in range(1, len(ids))]
        plain = [place for place, id_ in enumerate(ids[1:]) if id_ not in tokenizer.all_special_ids]
        logprobs = own_logprobs(model, ids)
        scores.append(sum(float(logprobs[place]) * fading[place] for place in plain))
    expected = 0.8 * (0.1 * torch.tensor(scores)).softmax(-1) + 0.1
    llm = EnsembleLLM(members, weights=TrackWeights(gamma=0.1, horizon=30, share=0.2))
    assert weights_of(llm, prompt) == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_prompt_that_a_member_cannot_count_tells_nothing() -> None:
    assert weights_of(EnsembleLLM(pair(), weights="track"), "T") == [0.5, 0.5]
    state = QUICK.per_prompt([[Likelihood(-3.0, 2, 5), Likelihood()], [Likelihood(-math.inf, 2, 5)] * 2])
    assert QUICK.per_token((), state).tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("fusion", MIXTURES, ids=lambda fusion: fusion.method)
def test_each_token_counts_by_its_probability_in_each_member(fusion: FusionMethod) -> None:
    members = [small("llama", "byte_level_bpe", seed) for seed in (0, 5)]  # one vocabulary: the parts are their own
    llm = EnsembleLLM(members, weights=QUICK, fusion=fusion)
    out = llm.generate(PROMPTS[0], max_new_tokens=16, temperature=1.5, seed=2, trace=True)
    ids = list(llm.main_model.encode_prompt(PROMPTS[0]).ids)
    state, said = [0.0, 0.0], [own_logprobs(model, [*ids, *out.tokens]).tolist() for model, _ in members]
    for place, id_ in enumerate([*ids[1:], *out.tokens]):
        weights = (0.9 * (0.5 * torch.tensor(state)).softmax(-1) + 0.05).tolist()
        probabilities = [math.exp(one[place]) for one in said]
        if place >= len(ids) - 1:
            assert out.trace is not None
            step = out.trace[place - len(ids) + 1]
            alone = step.reason.startswith("the main model alone")  # inside a character, by Bayes' rule
            assert [view.weight for view in step.members] == pytest.approx([1, 0] if alone else weights, abs=1e-4)
            probabilities = [1.0, 1.0] if alone else probabilities
            mixed = sum(weight * p for weight, p in zip(weights, probabilities, strict=True))
            probabilities = [AWAKE * p + (1 - AWAKE) * mixed for p in probabilities]
        fades = math.exp(-len(llm.main_model.vocabulary.surfaces[id_] or b"") / 20)
        state = [(old + math.log(p)) * fades for old, p in zip(state, probabilities, strict=True)]


GATED: list[dict[str, Any]] = [{}, {"gate": {"when": "unsure", "below": 0.02}}, {"eos_policy": "main"}]


WAYS = [(fusion, how) for how in GATED for fusion in MIXTURES]


@pytest.mark.parametrize(
    ("fusion", "how", "draft_tokens"), [(*way, 4 * ((i + i // 2) % 2)) for i, way in enumerate(WAYS)]
)
def test_no_answer_depends_on_drafts_or_on_who_is_beside(
    fusion: FusionMethod, how: dict[str, Any], draft_tokens: int
) -> None:
    settings_: dict[str, Any] = {"weights": QUICK, "fusion": fusion, **how}
    llm = EnsembleLLM(pair(), batch_size=3, draft_tokens=draft_tokens, **settings_)
    plain = EnsembleLLM(pair(), **settings_)
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 0.8, "seed": 3, "trace": True}
    batch = llm.generate(PROMPTS[:2], n=2, **options)
    for prompt, out in zip(PROMPTS[:2], batch, strict=True):
        alone = plain.generate(prompt, n=2, **options)
        for one, other in zip(out.samples, alone.samples, strict=True):
            assert one.tokens == other.tokens
            expected = [[view.weight for view in step.members] for step in other.trace or ()]
            found = [[view.weight for view in step.members] for step in one.trace or ()]
            assert found == [pytest.approx(step, abs=1e-3) for step in expected]
    assert "".join(llm.stream(PROMPTS[1], **options)) == batch[1].text


@pytest.mark.parametrize("fusion", MIXTURES, ids=lambda fusion: fusion.method)
def test_scores_are_the_log_probabilities_of_generated_tokens(fusion: FusionMethod) -> None:
    llm = EnsembleLLM(pair(), weights=QUICK, fusion=fusion)
    outputs = (llm.generate(PROMPTS[0], max_new_tokens=5, logprobs=0, seed=i, temperature=0.7) for i in range(40))
    told = ((out, llm.score(PROMPTS[0], out.text)) for out in outputs)
    out, score = next((out, score) for out, score in told if [one.token for one in score.tokens] == list(out.tokens))
    assert out.logprobs is not None
    expected = [one.logprob for one in out.logprobs]
    assert [one.logprob for one in score.tokens] == pytest.approx(expected, abs=1e-3)


def test_weights_fade_to_equal_ones_while_the_ensemble_writes() -> None:
    llm = EnsembleLLM(pair(), weights={"by": "track", "gamma": 1.0, "horizon": 20})
    out = llm.generate(PROMPTS[0], max_new_tokens=60, temperature=1.0, seed=1, trace=True)
    assert out.trace is not None
    leads = [abs(step.members[0].weight - 0.5) for step in out.trace]
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(leads))
    assert leads[0] > 0.1 > 0.02 > leads[-1]


TEXTS = [" jumps over the lazy dog, they said.", " 你好", " the fox and the fox and the fox"]


@pytest.mark.parametrize("fusion", MIXTURES, ids=lambda fusion: fusion.method)
def test_a_score_does_not_depend_on_how_much_is_read_at_once(
    fusion: FusionMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = EnsembleLLM(pair(), weights="track", fusion=fusion, batch_size=4)
    prompts = [*PROMPTS[:2], PROMPTS[0]]
    found = together.score(prompts, TEXTS)
    monkeypatch.setattr(given_sequences, "_AHEAD", 0)
    for one, prompt, text in zip(found, prompts, TEXTS, strict=True):
        alone = EnsembleLLM(pair(), weights="track", fusion=fusion, batch_size=1).score(prompt, text)
        expected = [token.logprob for token in alone.tokens]
        assert [token.logprob for token in one.tokens] == pytest.approx(expected, abs=1e-3)


class Watched(TrackWeights):
    """Keeps, for each committed token of one row, the weights before it, its parts and its bytes."""

    def learn(self, state: Tensor, parts: Tensor, sizes: Tensor, *, given: bool) -> Tensor:
        WATCHED.append((self.per_token((), state)[0], parts[0].double(), float(sizes[0])))
        return super().learn(state, parts, sizes, given=given)


WATCHED: list[tuple[Tensor, Tensor, float]] = []


def within_the_bound(weights: TrackWeights, steps: Sequence[tuple[Tensor, Tensor, float]]) -> bool:
    """Whether the loss is within the bound of every member's loss, after every token, when no prompt was credited."""
    ahead, regret = 0.0, torch.zeros(len(steps[0][1]), dtype=torch.float64)
    for shares, parts, size in steps:
        fades = math.exp(-size / weights.horizon)
        mixed = (shares * parts).sum()
        regret = fades * (regret - mixed.log() + (AWAKE * parts + (1 - AWAKE) * mixed).log())
        ahead = fades * (ahead - math.log(1 - weights.share))
        if float(regret.max()) > math.log(len(parts)) / weights.gamma + ahead + 1e-6:
            return False
    return True


def learned(
    weights: TrackWeights, parts: Sequence[Tensor], sizes: Sequence[float]
) -> list[tuple[Tensor, Tensor, float]]:
    """What `Watched` keeps, of a made-up text without a prompt."""
    state, steps = weights.per_prompt([[Likelihood()] * len(parts[0])]), list[tuple[Tensor, Tensor, float]]()
    for one, size in zip(parts, sizes, strict=True):
        steps.append((weights.per_token((), state)[0], one, size))
        state = weights.learn(state, one[None], torch.tensor([size]), given=True)
    return steps


@given(
    weights=st.builds(
        TrackWeights,
        gamma=st.floats(0.01, 1.0),
        horizon=st.sampled_from([1.0, 30.0, 100.0, 1e6]),
        share=st.sampled_from([0.0, 0.1, 0.9]),
    ),
    seed=st.integers(0, 10**6),
    members=st.integers(2, 4),
    sharp=st.sampled_from([1.0, 8.0, 60.0]),
)
@settings(max_examples=60, deadline=None)
def test_the_loss_is_within_the_bound_of_every_members(
    weights: TrackWeights, seed: int, members: int, sharp: float
) -> None:
    made = torch.Generator().manual_seed(seed)
    length = 60
    leads = torch.randint(members, (4,), generator=made).repeat_interleave(length // 4)  # who is right, in turn
    logs = -sharp * torch.rand(length, members, generator=made, dtype=torch.float64)
    logs[range(length), leads] = 0.0
    sizes = torch.randint(0, 12, (length,), generator=made).double().tolist()
    assert within_the_bound(weights, learned(weights, list(logs.exp()), sizes))


def statements(subject: str, count: int) -> str:
    """Sentences that state facts, as the specialists read them."""
    draw, known = random.Random(0), SUBJECTS[subject]  # noqa: S311
    text = ""
    for key in draw.sample(list(known.facts), count):
        answer = known.facts[key]
        sentence = fill(draw.choice(STATEMENTS[subject]), key, answer=answer if known.proper else answer.lower())
        text += f" {sentence}"
    return text


def bundled() -> tuple[Member, ...]:
    return EnsembleLLM.from_pretrained(specialists.paths(), device="cpu").members


def test_where_the_best_member_changes_the_weights_follow_and_the_loss_is_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(given_sequences, "_AHEAD", 0)  # each token is learned from once
    members, weights = bundled(), Watched()
    llm = EnsembleLLM(members, weights=weights)
    first, second = statements("elements", 8), statements("capitals", 8)  # curie's, then atlas's
    WATCHED.clear()
    found = llm.score("T", first + second)  # a prompt without a token to count
    for (shares, parts, _), token in zip(WATCHED, found.tokens, strict=False):
        assert math.log(float((shares * parts).sum())) == pytest.approx(token.logprob, abs=1e-3)
    shares = torch.stack([one for one, *_ in WATCHED])
    middle = len(llm.main_model.encode_continuation(llm.main_model.encode_prompt("T"), first))
    assert float(shares[middle // 2 : middle, 1].mean()) > 0.5
    assert float(shares[(middle + len(shares)) // 2 :, 0].mean()) > 1 / 3
    assert within_the_bound(weights, WATCHED)
    assert found.total > EnsembleLLM(members).score("T", first + second).total
