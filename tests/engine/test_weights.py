"""Weights that follow the input: the prompt's likelihood, each token's entropy, or (test_tracking) the text so far."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm import EnsembleConfig, EnsembleLLM, EntropyWeights, PromptWeights, TrackWeights, specialists
from deepen_llm.errors import ConfigError, LogitsError
from deepen_llm.fusion import AggregationWeights, FixedWeights, Likelihood
from deepen_llm.members import base
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import scripted
from tests.laws.test_decoding import PROMPTS, counted
from tests.models import random_model, small
from tests.tokenizers import SMALL

Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]
KINDS = ("byte_level_bpe", "sentencepiece_bpe")
SPELLED = "The fox.<|end|>The dog and</s> the fox"  # each tokenizer has one of the two as a special token
DYNAMIC: list[AggregationWeights] = [PromptWeights(tau=0.5), EntropyWeights(tau=0.05)]


def pair() -> list[Pair]:
    return [small("llama", KINDS[0]), small("gpt_neox", KINDS[1], seed=3)]


def weights_of(llm: EnsembleLLM, prompt: str) -> list[float]:
    """Those of an answer's first token."""
    trace = llm.generate(prompt, max_new_tokens=1, trace=True).trace
    assert trace is not None
    return [view.weight for view in trace[0].members]


def own_logprobs(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    logits = model(torch.tensor([ids]), use_cache=False).logits[0, :-1]
    logprobs: Tensor = logits.float().log_softmax(-1)[range(len(ids) - 1), list(ids[1:])].detach()
    return logprobs


@pytest.mark.parametrize("per", ["token", "byte"])
@pytest.mark.parametrize("prompt", [*PROMPTS[:2], SPELLED])
def test_weights_per_prompt_are_those_of_the_models_own_likelihoods(prompt: str, per: Any) -> None:
    members, means = pair(), []
    for model, tokenizer in members:
        member = LocalMember(model, tokenizer)
        ids = member.encode_prompt(prompt).ids
        plain = [place for place, id_ in enumerate(ids[1:]) if id_ not in tokenizer.all_special_ids]
        logprobs = own_logprobs(model, ids)[plain]
        said = b"".join(member.vocabulary.surfaces[id_] or b"" for id_ in ids[1:])
        means.append(float(logprobs.sum()) / (len(said) if per == "byte" else len(plain)))
        assert (len(plain) < len(ids) - 1) == (prompt == SPELLED)
    expected = (torch.tensor(means) / 0.7).softmax(-1)
    assert weights_of(EnsembleLLM(members, weights={"by": "prompt", "tau": 0.7, "per": per}), prompt) == pytest.approx(
        expected.tolist(), abs=1e-4
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "sliding", "mpt", "mamba", "dynamic_rope"])
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_a_prompts_likelihood_is_read_in_parts(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    member = LocalMember(*small(architecture, KINDS[0], wider=3))
    prompts = [member.encode_prompt(prompt) for prompt in (*PROMPTS, "T")]
    whole = member.prompt_logprobs(prompts)
    monkeypatch.setattr(base, "_TOKENS_AT_ONCE", 3)
    for prompt, found, again in zip(prompts, whole, member.prompt_logprobs(prompts), strict=True):
        logits = member.model(torch.tensor([prompt.ids]), use_cache=False).logits[0, :-1, : len(member.tokenizer)]
        expected = logits.log_softmax(-1)[range(len(prompt.ids) - 1), list(prompt.ids[1:])]
        for one in (found, again):
            torch.testing.assert_close(one, expected, atol=2e-4, rtol=1e-4)


def test_a_likelihood_that_is_no_number_is_told() -> None:
    tokenizer = SMALL[KINDS[0]]()
    model = random_model("gpt_neox", len(tokenizer), tokenizer.eos_token_id, seed=71)
    model.get_input_embeddings().weight.data[:] = math.nan
    with pytest.raises(LogitsError, match="no distribution"):
        EnsembleLLM([pair()[0], (model, tokenizer)], weights="prompt").generate(PROMPTS[0])


@pytest.mark.parametrize("by", ["prompt", "entropy", "track"])
def test_a_copy_has_equal_weight(by: str) -> None:
    one, other = pair()
    llm, alone = EnsembleLLM([one, one], weights=by), EnsembleLLM([one])
    assert weights_of(llm, PROMPTS[0]) == [0.5, 0.5]
    assert llm.generate(PROMPTS[0], max_new_tokens=12).tokens == alone.generate(PROMPTS[0], max_new_tokens=12).tokens
    _, first, second = weights_of(EnsembleLLM([one, other, other], weights=by, fusion="bayes"), PROMPTS[0])
    assert first == second


def test_a_prompt_without_a_token_to_count_has_equal_weights() -> None:
    assert weights_of(EnsembleLLM(pair(), weights="prompt"), "T") == [0.5, 0.5]
    silent = PromptWeights().per_prompt([[Likelihood(-3.0, 2, 5), Likelihood()], [Likelihood(-3.0, 2, 5)] * 2])
    assert silent.tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("draft_tokens", [0, 4])
@pytest.mark.parametrize("weights", DYNAMIC, ids=["prompt", "entropy"])
def test_laws_6_and_8_hold_whoever_is_beside(weights: AggregationWeights, draft_tokens: int) -> None:
    llm = EnsembleLLM(pair(), weights=weights, fusion="bayes", batch_size=3, draft_tokens=draft_tokens)
    plain = EnsembleLLM(pair(), weights=weights, fusion="bayes")
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 0.8, "seed": 3, "trace": True}
    batch = llm.generate(PROMPTS, n=2, **options)
    for prompt, out in zip(PROMPTS, batch, strict=True):
        alone = plain.generate(prompt, n=2, **options)
        assert [one.tokens for one in out.samples] == [one.tokens for one in alone.samples]
        for one, other in zip(out.samples, alone.samples, strict=True):
            expected = [[view.weight for view in step.members] for step in other.trace or ()]
            found = [[view.weight for view in step.members] for step in one.trace or ()]
            assert found == [pytest.approx(step, abs=1e-4) for step in expected]
    assert "".join(llm.stream(PROMPTS[1], **options)) == batch[1].text


def test_weights_per_prompt_hold_for_scores_and_all_of_an_answer() -> None:
    llm = EnsembleLLM(pair(), weights={"by": "prompt", "tau": 0.3}, fusion="bayes")
    found = weights_of(llm, PROMPTS[0])
    assert abs(found[0] - found[1]) > 0.1
    fixed = EnsembleLLM(pair(), weights=found, fusion="bayes")
    for options in ({}, {"temperature": 1.0, "seed": 1}):
        one, other = (one.generate(PROMPTS[0], max_new_tokens=16, **options) for one in (llm, fixed))
        assert one == other
    assert llm.score(PROMPTS[0], " jumps over").total == pytest.approx(fixed.score(PROMPTS[0], " jumps over").total)


def test_only_weights_per_prompt_read_a_prompt_once_more() -> None:
    for weights, more in ((None, 0), ("entropy", 0), ("prompt", 1), ("track", 1)):
        members = pair()
        llm = EnsembleLLM(members, weights=weights)
        with counted(members[0][0]) as main, counted(members[1][0]) as other:
            llm.generate(PROMPTS[0], max_new_tokens=1, n=3)
        assert (len(main), len(other)) == (1 + more, 1 + more)


def test_weights_per_token_are_those_of_the_entropies() -> None:
    members = [small("llama", KINDS[0], wider=3), small("gpt_neox", KINDS[1], seed=3)]
    for base_, tau in (((1.0, 1.0), 0.1), ((1.0, 3.0), 0.4)):
        scores = []
        for (model, tokenizer), begin in zip(members, base_, strict=True):
            ids = LocalMember(model, tokenizer).encode_prompt(PROMPTS[0]).ids
            logits = model(torch.tensor([ids])).logits[0, -1, : len(tokenizer)].detach()
            entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum()
            share = entropy / math.log(len(tokenizer))
            scores.append(begin * math.exp(-float(share) / tau))
        llm = EnsembleLLM(members, weights=EntropyWeights(tau=tau, base=base_))
        assert weights_of(llm, PROMPTS[0]) == pytest.approx([one / sum(scores) for one in scores], abs=1e-4)


def test_weights_per_token_favour_the_member_that_is_sure() -> None:
    answer = " jumps over the lazy dog"
    unsure = scripted(SMALL[KINDS[0]](), PROMPTS[0], " cat" * 9, strength=1)
    sure = scripted(SMALL[KINDS[1]](), PROMPTS[0], answer)
    assert weights_of(EnsembleLLM([unsure, sure], weights="entropy"), PROMPTS[0])[1] > 0.99
    llm = EnsembleLLM([unsure, sure], weights="entropy", fusion="bayes")
    assert llm.generate(PROMPTS[0], max_new_tokens=8).text.startswith(answer[:6])


def test_a_member_without_base_weight_takes_no_part() -> None:
    members = pair()
    llm = EnsembleLLM(members, weights={"by": "entropy", "base": [1, 0]})
    with counted(members[1][0]) as other:
        out = llm.generate(PROMPTS[0], max_new_tokens=12)
    assert (len(other), out.fused_share) == (0, 0)
    assert out.tokens == EnsembleLLM(members[:1]).generate(PROMPTS[0], max_new_tokens=12).tokens


class Leader(AggregationWeights):
    """The first member alone."""

    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        return torch.eye(state.shape[1])[0].expand(len(logits[0]), -1)


class Bold(PromptWeights):
    """Like its base, and yet another class."""


@pytest.mark.parametrize("own", [Leader(), Bold()], ids=["plain", "derived"])
def test_weights_of_ones_own_work_and_no_configuration_holds_them(own: AggregationWeights) -> None:
    llm = EnsembleLLM(pair(), weights=own)
    out = llm.generate(PROMPTS[0], max_new_tokens=12)
    if isinstance(own, Leader):
        assert out.tokens == EnsembleLLM(pair()[:1]).generate(PROMPTS[0], max_new_tokens=12).tokens
    else:
        assert weights_of(llm, PROMPTS[0]) == weights_of(EnsembleLLM(pair(), weights="prompt"), PROMPTS[0])
    with pytest.raises(ConfigError, match="aggregation weights of your own"):
        _ = llm.config


@pytest.mark.parametrize(
    "weights",
    [
        "prompt",
        {"by": "prompt", "tau": 0.5, "per": "byte"},
        EntropyWeights(tau=0.3, base=(1, 2)),
        "entropy",
        {"by": "track", "gamma": 0.05, "horizon": 300, "credit": "all"},
        "track",
        (2.0, 1.0),
    ],
    ids=str,
)
def test_weights_come_back_from_a_file(weights: Any, tmp_path: Path) -> None:
    config = EnsembleConfig(members=["a", "b"], weights=weights, gate="boundary")
    config.save(tmp_path / "ensemble.yaml")
    again = EnsembleConfig.load(tmp_path / "ensemble.yaml")
    assert again == config
    assert EnsembleConfig(**again.model_dump()) == config
    assert type(again.weights) is type(config.weights)


def test_an_ensemble_with_such_weights_comes_back_from_its_file(tmp_path: Path) -> None:
    llm = EnsembleLLM.from_pretrained(
        specialists.paths()[:2], weights=PromptWeights(tau=0.2), gate={"when": "unsure", "below": 0.7}
    )
    llm.save_config(tmp_path / "ensemble.yaml")
    again = EnsembleLLM.from_config(tmp_path / "ensemble.yaml")
    assert again.settings == llm.settings
    question = [{"role": "user", "content": "What is the capital of France?"}]
    assert again.chat(question) == llm.chat(question)


MISTAKES: list[tuple[str, Callable[[], object], str]] = [
    ("zero tau", lambda: PromptWeights(tau=0), "tau=0"),
    ("negative tau", lambda: EnsembleLLM(pair(), weights={"by": "entropy", "tau": -1}), "greater than 0"),
    ("name", lambda: EnsembleLLM(pair(), weights="promt"), "did you mean 'prompt'"),
    ("no name", lambda: EnsembleLLM(pair(), weights={"tau": 1}), "do not say by what"),
    ("no text", lambda: EnsembleLLM(pair(), weights={"by": ["track"]}), "did you mean 'track'"),
    ("option", lambda: EnsembleLLM(pair(), weights={"by": "prompt", "taw": 1}), "did you mean 'tau'"),
    ("per", lambda: PromptWeights(per="word"), "'token' or 'byte'"),
    ("base", lambda: EnsembleLLM(pair(), weights={"by": "entropy", "base": [1, 2, 3]}), "3 weights for 2 members"),
    ("empty base", lambda: EntropyWeights(base=()), "one above zero"),
    ("zero base", lambda: EntropyWeights(base=(0.0, 0.0)), "one above zero"),
    ("gamma", lambda: TrackWeights(gamma=1.5), "gamma=1.5"),
    ("share", lambda: TrackWeights(share=1), "share=1"),
    ("credit", lambda: EnsembleLLM(pair(), weights={"by": "track", "credit": "some"}), "'given' or 'all'"),
    (
        "no mixture",
        lambda: EnsembleLLM(pair(), weights="track", fusion="deepen"),
        "'track' learn .* fusion='deepen' is not",
    ),
    ("neither", lambda: EnsembleLLM(pair(), weights=3), "weights=3"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "told"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_weights_that_cannot_be_used_are_told(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


def test_weights_that_learn_are_refused_without_a_mixture_before_anything_is_loaded() -> None:
    config = EnsembleConfig(members=("no/such-folder", "nor/this-one"), weights="track", fusion="deepen")
    with pytest.raises(ConfigError, match="fusion='deepen' is not"):
        EnsembleLLM.from_config(config)


def test_weights_whose_sum_is_no_float_are_scaled() -> None:
    assert FixedWeights([1e308, 1e308, 0]).values == (0.5, 0.5, 0)
