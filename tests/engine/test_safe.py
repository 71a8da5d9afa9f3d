"""The gate ``safe``: SAFE's rule, restated by encoding the whole text and running every model afresh at every place."""

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from deepen_llm import EnsembleLLM, FusionMethod, Gate, Output, Surface
from deepen_llm.engine.lookahead import LookAhead, agreeing
from deepen_llm.engine.sharpening import sharpened
from deepen_llm.fusion.surfaces.correspondence import Tokens
from deepen_llm.members.local.member import LocalMember
from deepen_llm.outputs import TokenTrace
from deepen_llm.testing import scripted
from tests.engine.test_gate import ANSWER, alone, told
from tests.laws.test_decoding import ARCHITECTURES, MEETINGS, PROMPTS, SURFACE
from tests.models import small
from tests.sure import SureMember
from tests.tokenizers import SMALL

SAFE, PLAIN = Gate(when="safe"), Gate(when="safe", straddle=False, sharpen=False)
DRAWN: dict[str, Any] = {"max_new_tokens": 16, "temperature": 1.0, "trace": True}


def agreeing_now_and_then(*kinds: str, gate: Gate = PLAIN, **settings: Any) -> EnsembleLLM:
    """Members that want the same words, and lose their way where others were drawn."""
    members = [scripted(SMALL[kind](), PROMPTS[0], ANSWER, strength=7 - i) for i, kind in enumerate(kinds)]
    return EnsembleLLM(members, gate=gate, **{"fusion": "bayes", **settings})


def afresh(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """The next token's logits behind these tokens, ``[V]``."""
    positions = torch.arange(len(ids))[None]
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([list(ids)]), position_ids=positions).logits
    return logits[0, -1]


def restated(
    models: Sequence[PreTrainedModel], llm: EnsembleLLM, weights: Sequence[float], tokens: Sequence[TokenTrace]
) -> list[str]:
    """Why the main model decides alone before each token of an answer, "" where it does not."""
    text, reasons, main = PROMPTS[0], list[str](), llm.members[0].vocabulary
    read = list(llm.members[0].encode_prompt(text).ids)
    for token in tokens:
        logits = afresh(models[0], read)
        wanted = int(logits.argmax())
        ends, next_text = wanted in main.end_of_text, text + (main.surfaces[wanted] or b"").decode()
        likely, own, merging = list[int](), list[int](), ""
        shares = [float(logits.softmax(-1)[wanted])]
        for model, member in zip(models[1:], llm.members[1:], strict=True):
            here, there = member.encode_prompt(text).ids, member.encode_prompt(next_text).ids
            merging = merging or (member.name if there[: len(here)] != here else "")
            added = member.vocabulary.end_of_text if ends else there[len(here) :]
            said = afresh(model, here)
            likely.append(int(said.argmax()))
            own.append(added[0] if added and not merging else -1)  # WordPiece adds nothing for a space
            shares.append(float(said.softmax(-1)[own[-1]]) if own[-1] >= 0 else 0.0)
        mean = sum(weight * share for weight, share in zip(weights, shares, strict=True))
        agreed = "members agree" if likely == own or mean > 0.5 else ""
        reasons.append(f"not at a boundary of {merging}" if merging else agreed)
        read.append(token.chosen.token)
        text += token.text
    return reasons


def why_alone(token: TokenTrace) -> str:
    return token.reason.removeprefix("the main model alone: ") if alone(token) else ""


def of_whole_characters(llm: EnsembleLLM, out: Output) -> list[TokenTrace]:
    """An answer up to where a token, or what the main model wanted in its place, is part of a character."""
    surfaces = llm.members[0].vocabulary.surfaces

    def whole(token: TokenTrace) -> bool:
        pieces = [surfaces[one.token] or b"" for one in (token.chosen, token.main_choice)]
        return not any("\ufffd" in piece.decode(errors="replace") for piece in pieces)

    return list(takewhile(whole, told(out)))


@MEETINGS
def test_safe_is_the_rule_restated_from_whole_texts(pair: tuple[str, str], fusion: FusionMethod) -> None:
    kinds, weights = (pair, [0.35, 0.65]) if fusion == SURFACE else ((*pair, pair[0]), [0.47, 0.29, 0.24])
    chosen = Surface(reread=False) if fusion == SURFACE else fusion  # so that the main model reads what was chosen
    llm = agreeing_now_and_then(*kinds, fusion=chosen, weights=weights)
    models = [member.model for member in llm.members]  # type: ignore[attr-defined]
    seen = list[str]()
    for seed in range(30):
        tokens = of_whole_characters(llm, llm.generate(PROMPTS[0], seed=seed, **DRAWN))
        found = restated(models, llm, weights, tokens)
        assert [why_alone(token) for token in tokens] == found
        seen += found
        if len(seen) > 30 and {"", "members agree"} <= set(seen):
            return
    pytest.fail(f"of {len(seen)} places there were none of some kind: {set(seen)}")


def test_inside_others_tokens_the_main_model_is_alone_unless_members_are_read_further_back() -> None:
    main = scripted(SMALL["sentencepiece_unigram"](), PROMPTS[0], ANSWER)
    other = small("llama", "byte_level_bpe", seed=3)
    reasons = {}
    for straddle in (False, True):
        for fusion in ("surface", "bayes"):
            gate = Gate(when="safe", straddle=straddle)
            llm = EnsembleLLM([main, other], weights=[0.49, 0.51], gate=gate, fusion=fusion)
            out = llm.generate(PROMPTS[0], max_new_tokens=60, trace=True)
            reasons[straddle, fusion] = {why_alone(token) for token in told(out)} - {"inside a character"}
    shut = f"not at a boundary of {llm.members[1].name}"
    assert "" in reasons[True, "surface"]
    assert [shut in found for found in reasons.values()] == [True, True, False, True]


def test_who_agrees() -> None:
    members = [LocalMember(*small("llama", kind)) for kind in ("byte_level_bpe", "sentencepiece_bpe", "wordpiece")]
    end = members[0].vocabulary.end_of_text[0]

    def agreed(
        token: int, own: Sequence[list[int] | None], shares: Sequence[dict[int, float]], *weights: float
    ) -> bool:
        """Whether members agree that have these probabilities, all else being shared out evenly."""
        logits = []
        for member, known in zip(members, shares, strict=True):
            p = torch.full((1, member.vocabulary.size), (1 - sum(known.values())) / member.vocabulary.size)
            for id_, share in known.items():
                p[0, id_] += share
            logits.append(p.log())
        ahead = LookAhead([token], {i: [one] for i, one in enumerate(own, 1)})
        return agreeing(members, 0, ahead, logits, torch.tensor([weights or (1 / 3,) * 3]))[0]

    weak, strong, sure = 0.1, 0.7, 0.99
    assert agreed(50, [[60], [70, 71]], [{50: weak}, {60: weak}, {70: weak}])  # unanimous
    assert not agreed(50, [[60], [70, 71]], [{50: strong}, {60: weak}, {71: weak}])
    assert agreed(50, [[60], [70, 71]], [{50: strong}, {60: strong}, {71: weak, 70: 0.2}])  # the mean is above 1/2
    assert not agreed(50, [[60], [70]], [{50: strong}, {60: strong}, {71: sure}])
    assert agreed(50, [[60], [70]], [{50: strong}, {60: strong}, {71: sure}], 0.5, 0.4, 0.1)  # by weight
    assert not agreed(50, [[60], None], [{50: weak}, {60: weak}, {70: sure}])  # nobody knows what it reads next
    assert not agreed(50, [[60], []], [{50: weak}, {60: weak}, {70: sure}])
    assert agreed(50, [[60], None], [{50: sure}, {60: sure}, {70: sure}])
    ends = [member.vocabulary.end_of_text[0] for member in members[1:]]
    assert agreed(end, [[], []], [{end: weak}, {ends[0]: weak}, {ends[1]: weak}])
    assert not agreed(end, [[], []], [{end: sure}, {ends[0]: weak}, {70: weak}])


def test_ends_of_text_count_as_one_when_members_agree() -> None:
    model, tokenizer = small("llama", "byte_level_bpe")
    model.generation_config.eos_token_id, before = (
        [tokenizer.eos_token_id, 40, 41],
        model.generation_config.eos_token_id,
    )
    try:
        member = LocalMember(model, tokenizer)
    finally:
        model.generation_config.eos_token_id = before
    logits = torch.zeros(1, member.vocabulary.size)
    logits[0, [40, 41]], logits[0, 50] = 8.0, 8.3
    ahead = LookAhead([40], {1: [[41]]})
    assert agreeing([member, member], 0, ahead, [logits, logits], torch.tensor([[0.5, 0.5]])) == [True]
    assert agreeing([member, member], 0, LookAhead([50], {1: [[50]]}), [logits] * 2, torch.eye(2)[:1]) == [False]


def test_members_that_are_sure_of_one_answer_agree_all_along() -> None:
    members = [SureMember(SMALL[kind], kind) for kind in ("byte_level_bpe", "sentencepiece_bpe", "wordpiece")]
    for member in members:
        member.say(PROMPTS[0], ANSWER)
    llm = EnsembleLLM(members, gate="safe")
    out = llm.generate(PROMPTS[0], max_new_tokens=80, trace=True)
    assert out.text.strip() == ANSWER.strip()
    assert out.fused_share == 0
    assert {why_alone(token) for token in told(out)} == {"members agree"}
    members[1].say(PROMPTS[0], " jumps over the lazy fox. The capital of Italy is Rome.")
    other = llm.generate(PROMPTS[0], max_new_tokens=80, trace=True)
    assert other.text == out.text  # two of three have the mean


@pytest.mark.parametrize("pair", [("byte_level_bpe", "sentencepiece_bpe"), ("unigram_byte_fallback", "wordpiece")])
def test_laws_1_and_2_hold_behind_it(pair: tuple[str, str]) -> None:
    one, other = small(ARCHITECTURES[pair[0]], pair[0]), small("llama", pair[1], seed=5)
    alone_ = EnsembleLLM([one]).generate(PROMPTS, max_new_tokens=10)
    for members, weights in (([one], None), ([one, one], None), ([one, other], [1, 0])):
        llm = EnsembleLLM(members, weights=weights, gate="safe")
        assert [out.tokens for out in llm.generate(PROMPTS, max_new_tokens=10)] == [out.tokens for out in alone_]


@pytest.mark.parametrize("fusion", ["surface", "bayes", "deepen"])
def test_laws_6_and_8_hold_behind_it(fusion: str) -> None:
    pair = ("sentencepiece_unigram", "byte_level_bpe")
    options = {**DRAWN, "max_new_tokens": 12, "temperature": 0.9, "seed": 3, "n": 2}
    prompts, plain = PROMPTS[:2], agreeing_now_and_then(*pair, gate=SAFE, fusion=fusion)
    expected = [plain.generate(prompt, **options) for prompt in prompts]
    reasons = {why_alone(token) for out in expected for token in told(out)}
    assert {"", "members agree"} <= reasons
    for draft_tokens in (0, 4):
        llm = agreeing_now_and_then(*pair, gate=SAFE, fusion=fusion, batch_size=3, draft_tokens=draft_tokens)
        for out, other in zip(llm.generate(prompts, **options), expected, strict=True):
            assert [one.tokens for one in out.samples] == [one.tokens for one in other.samples]
            assert [one.fused_tokens for one in out.samples] == [one.fused_tokens for one in other.samples]
            assert [token.reason for token in told(out)] == [token.reason for token in told(other)]
        assert "".join(llm.stream(PROMPTS[0], **{**options, "n": 1})) == expected[0].text


def test_structures_and_scores_go_through_it() -> None:
    main = scripted(SMALL["sentencepiece_unigram"](), PROMPTS[0], ANSWER, strength=7)
    members = [main, small("gpt_neox", "byte_level_bpe", seed=3)]
    llm, plain = (EnsembleLLM(members, weights=[0.7, 0.3], gate=gate, fusion="bayes") for gate in (SAFE, PLAIN))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    out = llm.generate(PROMPTS[0], max_new_tokens=30, response_format=schema, temperature=1.0, seed=2)
    assert isinstance(out.parsed["a"], int)
    compared = 0
    for seed in range(20):
        given = plain.generate(PROMPTS[0], logprobs=0, seed=seed, max_new_tokens=12, temperature=0.5)
        score = plain.score(PROMPTS[0], given.text)
        if [one.token for one in score.tokens] == list(given.tokens) and 0 < given.fused_share < 1:
            assert given.logprobs is not None
            logprobs = [one.logprob for one in given.logprobs]
            assert [one.logprob for one in score.tokens] == pytest.approx(logprobs, abs=1e-3)
            sharpened_too = EnsembleLLM(
                members, weights=[0.7, 0.3], gate=Gate(when="safe", straddle=False), fusion="bayes"
            )
            assert sharpened_too.score(PROMPTS[0], given.text) == score  # a given token is never taken over
            compared += 1
    assert compared


def taken_over(p: Tensor, surfaces: Sequence[bytes | None]) -> Tensor:
    """Sharpening, token by token."""
    likely = [id_ for id_, share in enumerate(p.tolist()) if share > 0.1 and surfaces[id_]]
    if float(p.max()) >= 0.5:
        return p
    found = torch.zeros_like(p)
    for id_, surface in enumerate(surfaces):
        heads = [one for one in likely if surface and surface.startswith(surfaces[one] or b"")]
        found[min(heads, key=lambda one: len(surfaces[one] or b""), default=id_)] += p[id_]
    return found


def test_sharpening_is_what_it_says() -> None:
    member = LocalMember(*small("llama", "byte_level_bpe"))
    vocabulary, tokens = member.vocabulary, Tokens(member)
    known = [surface for surface in vocabulary.surfaces if surface]
    longer = max(known, key=len)
    short = next(one for one in sorted(known, key=len) if longer.startswith(one))
    the, then, a, end = (vocabulary.ids[one] for one in (short, longer, b"0", b"1"))
    given: list[dict[int, float]] = [
        {the: 0.3, then: 0.2, a: 0.15},
        {the: 0.08, then: 0.2, a: 0.15},
        {the: 0.3, then: 0.55},
        {vocabulary.end_of_text[0]: 0.45, end: 0.2},
        {},
    ]
    p = torch.stack(
        [torch.rand(vocabulary.size, generator=torch.Generator().manual_seed(i)) for i in range(len(given))]
    )
    p[:, vocabulary.tokenizer_size :] = 0
    p /= p.sum(-1, keepdim=True)
    for row, shares in zip(p, given, strict=True):
        row *= 1 - sum(shares.values())
        for id_, share in shares.items():
            row[id_] += share
    logits = p.log() + 3
    found = sharpened(logits, tokens, torch.ones(len(p), dtype=torch.bool))
    expected = torch.stack([taken_over(row, vocabulary.surfaces) for row in p])
    torch.testing.assert_close(found.softmax(-1), expected)
    torch.testing.assert_close(found.logsumexp(-1), logits.logsumexp(-1))
    assert (found[[2, 4]] == logits[[2, 4]]).all()  # to the bit
    assert found[0, then].isneginf()
    assert sharpened(logits, tokens, torch.zeros(len(p), dtype=torch.bool)) is logits


def test_sharpening_acts_where_members_were_fused() -> None:
    members = [scripted(SMALL[kind](), PROMPTS[0], ANSWER, strength=5) for kind in ("byte_level_bpe", "wordpiece")]
    sharp, plain = (EnsembleLLM(members, gate=gate, fusion="bayes") for gate in (SAFE, PLAIN))
    surfaces, changed = sharp.members[0].vocabulary.surfaces, 0
    prompts = [PROMPTS[0] + ANSWER[:size] for size in range(0, len(ANSWER), 3)]
    outs = [llm.generate(prompts, max_new_tokens=1, logprobs=len(surfaces)) for llm in (sharp, plain)]
    for one, other in zip(*outs, strict=True):
        assert one.logprobs is not None
        assert other.logprobs is not None
        found, given = torch.zeros(len(surfaces)), torch.zeros(len(surfaces))
        for p, told_ in ((found, one.logprobs), (given, other.logprobs)):
            for candidate in told_[0].top:
                p[candidate.token] = math.exp(candidate.logprob)
        expected = taken_over(given, surfaces) if other.fused_share else given
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        changed += not torch.equal(expected, given)
    assert changed
