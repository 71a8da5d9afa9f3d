"""The gate: where members are fused, and that elsewhere the main model decides alone."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepen_llm import EnsembleConfig, EnsembleLLM, Gate, Output
from deepen_llm.cli.options import EnsembleOptions
from deepen_llm.cli.records import as_record
from deepen_llm.errors import ConfigError
from deepen_llm.members.local.member import LocalMember
from deepen_llm.outputs import TokenTrace
from deepen_llm.testing import scripted
from tests.laws.test_decoding import PAIRS, PROMPTS, counted, ensemble
from tests.models import small
from tests.tokenizers import SMALL

SHUT = Gate(when="unsure", below=1e-6)  # no model is that unsure
OPEN = Gate(when="unsure", below=1)
SOME = Gate(when="unsure", below=0.3)
BOUNDARY = Gate(when="boundary")
PAIR = ("byte_level_bpe", "sentencepiece_bpe")
SAMPLED: dict[str, Any] = {"max_new_tokens": 16, "temperature": 0.8, "seed": 3}
ANSWER = (
    " jumps over the lazy dog. The capital of France is Paris. Don't panic, said the guide. They are here: 3.14159."
)


def behind(gate: Gate, **settings: Any) -> EnsembleLLM:
    """An ensemble for which the gate is now open and now shut: one that is sure at times, or whose words others cut."""
    if gate == SOME:
        return ensemble(*PAIR, gate=gate, **settings)
    main = scripted(SMALL["sentencepiece_unigram"](), PROMPTS[0], ANSWER, strength=7)
    return EnsembleLLM([main, small("gpt_neox", PAIR[0], seed=3)], gate=gate, fusion="bayes", **settings)


def alone(token: TokenTrace) -> bool:
    return token.reason.startswith("the main model alone")


def told(out: Output) -> tuple[TokenTrace, ...]:
    assert out.trace is not None
    return out.trace


@pytest.mark.parametrize("options", [{"max_new_tokens": 16}, SAMPLED], ids=["greedy", "sampled"])
def test_a_gate_that_is_never_shut_changes_nothing(options: dict[str, Any]) -> None:
    always, never_shut = ensemble(*PAIR), ensemble(*PAIR, gate=OPEN)
    assert never_shut.generate(PROMPTS, **options) == always.generate(PROMPTS, **options)
    assert never_shut.score(PROMPTS[0], " and so on") == always.score(PROMPTS[0], " and so on")


@pytest.mark.parametrize(("draft_tokens", "eos_policy"), [(0, "main"), (4, "fused")])
@pytest.mark.parametrize("pair", [PAIR, ("unigram_byte_fallback", "wordpiece")], ids="-".join)
def test_a_gate_that_is_always_shut_leaves_the_main_model_alone(
    pair: tuple[str, str], draft_tokens: int, eos_policy: str
) -> None:
    llm = ensemble(*pair, gate=SHUT, draft_tokens=draft_tokens, eos_policy=eos_policy)
    main = ensemble(pair[0], eos_policy=eos_policy)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for options in (
        {"max_new_tokens": 12, "repetition_penalty": 1.2, "logprobs": 1},
        {**SAMPLED, "n": 2},
        {"max_new_tokens": 24, "response_format": schema, "temperature": 1.0, "seed": 1},
    ):
        batch, expected = llm.generate(PROMPTS[:2], **options), main.generate(PROMPTS[:2], **options)
        assert [[one.tokens for one in out.samples] for out in batch] == [
            [one.tokens for one in out.samples] for out in expected
        ]
        assert [out.fused_share for out in batch] == [0, 0]
    assert llm.score(PROMPTS[0], " and so").total == pytest.approx(main.score(PROMPTS[0], " and so").total, abs=1e-3)


@pytest.mark.parametrize("gate", [SOME, BOUNDARY], ids=["unsure", "boundary"])
def test_laws_6_and_8_hold_behind_a_gate(gate: Gate) -> None:
    plain = behind(gate)
    options = {**SAMPLED, "trace": True}
    expected = [plain.generate(prompt, n=2, **options) for prompt in PROMPTS]
    assert 0 < sum(out.fused_share for out in expected) < len(PROMPTS)
    for draft_tokens in (0, 4):
        llm = behind(gate, batch_size=3, draft_tokens=draft_tokens)
        for out, other in zip(llm.generate(PROMPTS, n=2, **options), expected, strict=True):
            assert [one.tokens for one in out.samples] == [one.tokens for one in other.samples]
            assert [one.fused_tokens for one in out.samples] == [one.fused_tokens for one in other.samples]
            assert [token.reason for token in told(out)] == [token.reason for token in told(other)]
            assert [[bool(view.top) for view in token.members] for token in told(out)] == [
                [True, not alone(token)] for token in told(other)
            ]
        stream = llm.stream(PROMPTS[0], **options)
        assert "".join(stream) == expected[0].text


@pytest.mark.parametrize("pair", [PAIR, ("unigram_byte_fallback", "byte_level_bpe")], ids="-".join)
def test_where_the_main_model_is_sure_it_is_alone_and_nobody_else_reads(pair: tuple[str, str]) -> None:
    llm = ensemble(*pair, gate=SOME)
    with counted(llm.members[1].model) as other:  # type: ignore[attr-defined]
        out = llm.generate(PROMPTS[1], max_new_tokens=30, temperature=1.0, seed=5, trace=True)
    opened = [not alone(token) for token in told(out)]
    assert 3 < sum(opened) < 27
    for token, is_open in zip(told(out), opened, strict=True):
        if "inside a character" not in token.reason:
            assert is_open == (math.exp(token.main_choice.logprob) < 0.3)
        assert [view.weight for view in token.members] == ([0.5, 0.5] if is_open else [1, 0])
    assert len(other) == 1 + sum(opened[1:])  # the prompt once, and then only where it is asked
    assert out.samples[0].fused_tokens == sum(opened)
    assert out.fused_share == sum(opened) / len(opened)
    assert all(token.reason == "the main model alone: it is sure" for token in told(out) if "sure" in token.reason)


@pytest.mark.parametrize("draft_tokens", [0, 4])
def test_members_that_were_not_asked_catch_up(draft_tokens: int) -> None:
    llm = ensemble("sentencepiece_unigram", PAIR[1], gate=SOME, draft_tokens=draft_tokens)  # whole characters alone
    other, text, opened = llm.members[1], "", 0
    for token in told(llm.generate(PROMPTS[1], max_new_tokens=24, temperature=1.0, seed=5, trace=True)):
        if not alone(token):
            afresh = other.open([other.encode_prompt(PROMPTS[1])])
            afresh.append([[text]])
            logprobs = afresh.logits()[0].log_softmax(-1)
            said = token.members[1].top
            assert [one.logprob for one in said] == pytest.approx(logprobs.topk(5).values.tolist(), abs=1e-3)
        text, opened = text + token.chosen.text, opened + (not alone(token))
    assert 3 < opened < 24


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_boundary_is_where_the_others_tokens_go_on(pair: tuple[str, str]) -> None:
    main = scripted(SMALL[pair[0]](), PROMPTS[0], ANSWER)
    llm = EnsembleLLM([main, small("llama", pair[1], seed=3)], gate=BOUNDARY, weights=[0.9, 0.1], fusion="bayes")
    other, text, shut = llm.members[1], "", 0
    for token in told(llm.generate(PROMPTS[0], max_new_tokens=32, trace=True)):
        assert "inside" not in token.reason
        at, beyond = (other.open([other.encode_prompt(PROMPTS[0])]) for _ in range(2))
        at.append([[text]])
        beyond.append([[text, token.chosen.text if token.chosen.text != "<end>" else ""]])
        goes_on = beyond.ids[0][: len(at.ids[0])] == at.ids[0]
        assert alone(token) != goes_on
        assert goes_on or token.reason == f"the main model alone: not at a boundary of {other.name}"
        text, shut = text + token.chosen.text, shut + (not goes_on)
    assert shut < 20
    assert shut > 0 or pair not in {("sentencepiece_unigram", "byte_level_bpe"), ("byte_level_bpe", "wordpiece")}


@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_a_model_that_reads_no_drafts_has_boundaries_all_the_same() -> None:
    mamba = EnsembleLLM([small("llama", PAIR[0]), small("mamba", PAIR[1], seed=3)], gate="boundary")
    other = EnsembleLLM([small("llama", PAIR[0]), small("gpt2", PAIR[1], seed=3)], gate="boundary")
    assert (
        0.5
        < mamba.generate(PROMPTS[0], max_new_tokens=8).fused_share
        == pytest.approx(other.generate(PROMPTS[0], max_new_tokens=8).fused_share, abs=0.4)
    )


def test_members_of_one_vocabulary_have_the_same_boundaries() -> None:
    members = [small("llama", PAIR[0]), small("gpt2", PAIR[0], seed=3)]
    always, boundary = (EnsembleLLM(members, gate=gate) for gate in ("always", "boundary"))
    assert boundary.generate(PROMPTS, **SAMPLED) == always.generate(PROMPTS, **SAMPLED)


@pytest.mark.parametrize("gate", [SOME, BOUNDARY], ids=["unsure", "boundary"])
def test_scores_go_through_the_gate(gate: Gate) -> None:
    llm = behind(gate)
    for seed in range(20):
        out = llm.generate(PROMPTS[0], max_new_tokens=12, logprobs=0, seed=seed, temperature=0.5)
        score = llm.score(PROMPTS[0], out.text).tokens
        if [one.token for one in score] == list(out.tokens) and 0 < out.fused_share < 1:
            assert out.logprobs is not None
            assert [one.logprob for one in score] == pytest.approx([one.logprob for one in out.logprobs], abs=1e-3)
            return
    pytest.fail("no generated answer was its text's own encoding and fused in part")


def test_the_share_of_fused_tokens_is_told() -> None:
    both, one = ensemble(*PAIR), ensemble(PAIR[0])
    out, own = (llm.generate(PROMPTS[0], max_new_tokens=6, trace=True) for llm in (both, one))
    assert out.samples[0].fused_tokens == sum(not alone(token) for token in told(out)) > 0
    assert as_record(out)["fused_share"] == out.fused_share == out.samples[0].fused_tokens / 6
    assert (own.samples[0].fused_tokens, own.fused_share) == (0, 0)


def test_a_gate_comes_back_from_a_file_and_the_command_line_overrides_it(tmp_path: Path) -> None:
    for gate in ("always", "unsure", {"when": "unsure", "below": 0.5}, BOUNDARY):
        config = EnsembleConfig(members=["a", "b"], gate=gate, weights="entropy")
        config.save(tmp_path / "e.yaml")
        assert EnsembleConfig.load(tmp_path / "e.yaml") == config
    kept = EnsembleOptions(None, tmp_path / "e.yaml").configuration()
    assert kept.gate == BOUNDARY
    other = EnsembleOptions(None, tmp_path / "e.yaml", gate="unsure", weights="prompt").configuration()
    assert (other.gate, other.weights) == (Gate(when="unsure"), EnsembleConfig(members=["a"], weights="prompt").weights)
    EnsembleConfig(members=["a", "b"], gate=SOME, weights={"by": "entropy", "tau": 2}).save(tmp_path / "e.yaml")
    same = EnsembleOptions(None, tmp_path / "e.yaml", gate="unsure", weights="entropy").configuration()
    assert same == EnsembleConfig.load(tmp_path / "e.yaml")
    assert EnsembleOptions(None, tmp_path / "e.yaml", weight=[2, 1]).configuration().weights == (2, 1)


MISTAKES: list[tuple[str, Callable[[], object], str]] = [
    ("name", lambda: ensemble(*PAIR, gate="unshure"), "did you mean 'unsure'"),
    ("option", lambda: ensemble(*PAIR, gate={"when": "unsure", "bellow": 0.5}), "did you mean 'below'"),
    ("zero", lambda: Gate(when="unsure", below=0), "greater than 0"),
    ("above one", lambda: Gate(when="unsure", below=1.5), "less than or equal to 1"),
    (
        "of another",
        lambda: ensemble(*PAIR, gate={"when": "boundary", "below": 0.5}),
        "when='unsure' with below=0.5, got",
    ),
    ("no gate", lambda: ensemble(*PAIR, gate=3), "gate=3"),
]


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_gate_that_cannot_be_used_is_told(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_asking_whether_tokens_go_on_changes_nothing() -> None:
    member = LocalMember(*small("llama", PAIR[0]))
    context = member.open([member.encode_prompt("The quick"), member.encode_prompt("1, 2")])
    read = context.logits()
    assert None not in context.added([[" brown"], [" x"]])
    assert (context.logits() == read).all()
