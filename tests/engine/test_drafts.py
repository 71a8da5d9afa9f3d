"""Law 8 for drafts: they save forwards and change no answer."""

import itertools
import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import GPT2Config
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from deepen_llm import EnsembleLLM, FusionMethod
from deepen_llm.errors import ConfigError
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import scripted
from tests.fusion.registered import FUSIONS
from tests.laws.test_decoding import ARCHITECTURES, KINDS, PAIRS, PROMPTS, counted, ensemble
from tests.models import small
from tests.texts import PIECES
from tests.tokenizers import SMALL

ANSWER = " jumps over the lazy dog and the fox. They are here, and they were there."


GREEDY: dict[str, Any] = {}
SAMPLED: dict[str, Any] = {"temperature": 0.9, "top_p": 0.95, "seed": 7, "n": 2}
WAYS = [(fusion, options) for options in (GREEDY, SAMPLED) for fusion in FUSIONS]
MEETING = [pair for place, pair in enumerate(PAIRS) if (place + place // 4) % 2]  # two others for each main model
CASES = [(pair, *WAYS[place % len(WAYS)]) for place, pair in enumerate(MEETING)]


@pytest.mark.parametrize(("pair", "fusion", "options"), CASES, ids=["-".join(pair) for pair in MEETING])
def test_answers_are_those_of_plain_decoding(
    pair: tuple[str, str], fusion: FusionMethod, options: dict[str, Any]
) -> None:
    options = {"max_new_tokens": 10, "logprobs": 1, "repetition_penalty": 1.1, **options}
    plain = ensemble(*pair, fusion=fusion, batch_size=3).generate(PROMPTS, **options)
    drafted = ensemble(*pair, fusion=fusion, batch_size=3, draft_tokens=4).generate(PROMPTS, **options)
    assert [[sample.tokens for sample in out.samples] for out in drafted] == [
        [sample.tokens for sample in out.samples] for out in plain
    ]
    assert [out.text for out in drafted] == [out.text for out in plain]
    for one, other in zip(plain, drafted, strict=True):
        assert one.logprobs is not None
        assert other.logprobs is not None
        assert [t.logprob for t in other.logprobs] == pytest.approx([t.logprob for t in one.logprobs], abs=1e-3)


@pytest.mark.parametrize("architecture", ["sliding", "mpt", "gpt_neo", "dynamic_rope", "longrope", "mamba"])
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_members_with_caches_of_their_own_kind_are_drafted_for_too(architecture: str) -> None:
    members = [small("llama", "byte_level_bpe"), small(architecture, "sentencepiece_bpe", seed=3)]
    for order in (members, members[::-1]):
        plain, drafted = (EnsembleLLM(order, fusion="bayes", draft_tokens=count) for count in (0, 5))
        options: dict[str, Any] = {"max_new_tokens": 14, "temperature": 0.7, "seed": 1}
        assert drafted.generate(PROMPTS[:2], **options) == plain.generate(PROMPTS[:2], **options)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_draft_model_has_no_say(temperature: float) -> None:
    options: dict[str, Any] = {"max_new_tokens": 14, "temperature": temperature, "seed": 4}
    members = [small("llama", "byte_level_bpe"), small("gemma", "sentencepiece_bpe", seed=3)]
    alike, stranger = small("llama", "byte_level_bpe"), small("gpt2", "byte_level_bpe", seed=9)
    plain = EnsembleLLM(members, fusion="bayes").generate(PROMPTS, **options)
    for drafting in (alike, stranger):
        llm = EnsembleLLM(members, fusion="bayes", draft_tokens=4, draft_model=drafting)
        assert [out.tokens for out in llm.generate(PROMPTS, **options)] == [out.tokens for out in plain]
        assert "".join(llm.stream(PROMPTS[0], **options)) == plain[0].text


def test_sampling_with_drafts_follows_the_fused_distribution() -> None:
    count = 1500
    llm = ensemble(KINDS[0], KINDS[1], batch_size=count, draft_tokens=2)
    options: dict[str, Any] = {"max_new_tokens": 3, "temperature": 1.0}
    samples = llm.generate(PROMPTS[0], seed=5, n=count, **options).samples
    first = Counter(sample.tokens[0] for sample in samples).most_common(1)[0][0]
    following = [sample for sample in samples if sample.tokens[0] == first and len(sample.tokens) > 1]
    told = llm.generate(PROMPTS[0], seed=5 + samples.index(following[0]), logprobs=1000, **options)
    assert told.logprobs is not None
    p = {one.token: math.exp(one.logprob) for one in told.logprobs[1].top}
    drawn = Counter(sample.tokens[1] for sample in following)
    frequent = [token for token in p if p[token] * len(following) >= 5]
    assert len(frequent) > 3
    observed, expected = [drawn[token] for token in frequent], [p[token] * len(following) for token in frequent]
    observed, expected = [*observed, len(following) - sum(observed)], [*expected, len(following) - sum(expected)]
    assert chisquare(observed, expected).pvalue > 1e-4


@pytest.mark.parametrize("kind", KINDS)
@given(pieces=PIECES.filter(bool), data=st.data())
@settings(max_examples=7, deadline=None)
def test_logits_at_every_boundary_are_those_of_the_text_until_there(
    kind: str, pieces: list[str], data: st.DataObject
) -> None:
    member = LocalMember(*small(ARCHITECTURES[kind], kind))
    context, text = member.open([member.encode_prompt("The quick")]), ""
    while pieces:
        draft = pieces[: data.draw(st.integers(0, 5))]
        (lengths,) = context.boundaries([draft])
        reading = context.read([draft[: len(lengths) - 1]])
        assert reading.lengths == [lengths]
        for place in range(len(lengths)):
            afresh = member.open([member.encode_prompt("The quick")])
            afresh.append([[text, *draft[:place]]])
            torch.testing.assert_close(reading.logits[place], afresh.logits()[0], atol=2e-4, rtol=1e-4)
        kept = data.draw(st.integers(1, len(pieces)))  # the text goes on as drafted, and beyond
        context.append([pieces[:kept]])
        text, pieces = text + "".join(pieces[:kept]), pieces[kept:]


def test_boundaries_are_shared_as_a_rule() -> None:
    member = LocalMember(*small("llama", "sentencepiece_bpe"))
    context = member.open([member.encode_prompt("The quick")])
    assert len(context.boundaries([[" brown", " fox", " jumps", " over"]])[0]) == 5


@pytest.mark.parametrize("own", [True, False], ids=["main model", "draft model"])
def test_where_members_agree_each_forward_gives_several_tokens(own: bool) -> None:
    members = [scripted(SMALL[kind](), PROMPTS[0], ANSWER) for kind in ("byte_level_bpe", "sentencepiece_bpe")]
    drafting = None if own else scripted(SMALL["byte_level_bpe"](), PROMPTS[0], ANSWER)
    llm = EnsembleLLM(members, draft_tokens=4, draft_model=drafting)
    with counted(members[0][0]) as main, counted(members[1][0]) as other:
        out = llm.generate(PROMPTS[0], max_new_tokens=200)
    assert (out.text, out.finish_reason) == (ANSWER, "eos")
    assert len(other) < 0.5 * len(out.tokens)
    assert own or len(main) < 0.5 * len(out.tokens)


def test_where_members_disagree_drafts_are_given_up() -> None:
    prompt = PROMPTS[0]
    wrong = scripted(SMALL["byte_level_bpe"](), prompt, " dog" * 80, strength=3)
    right = scripted(SMALL["sentencepiece_bpe"](), prompt, ANSWER * 3, strength=60)
    llm = EnsembleLLM([wrong, right], fusion="bayes", weights=[0.05, 0.95], draft_tokens=4)
    with counted(wrong[0]) as main:
        out = llm.generate(prompt, max_new_tokens=96)
    share = sum(trace.changed for trace in llm.generate(prompt, max_new_tokens=96, trace=True).trace or ()) / 96
    assert share > 0.5
    assert len(main) < 1.4 * len(out.tokens)


def test_structures_and_stop_strings_are_kept() -> None:
    plain, drafted = (ensemble(KINDS[0], KINDS[1], draft_tokens=count) for count in (0, 4))
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
        "required": ["a", "b"],
    }
    options: list[dict[str, Any]] = [
        {"response_format": schema, "max_new_tokens": 60, "temperature": 1.0, "seed": 2},
        {"stop": ["e", " th"], "max_new_tokens": 40, "temperature": 1.0, "seed": 3},
    ]
    for given_ in options:
        assert drafted.generate(PROMPTS, **given_) == plain.generate(PROMPTS, **given_)


def test_a_window_ends_a_drafted_answer_where_it_ends_a_plain_one() -> None:
    for main, other in itertools.permutations(("byte_level_bpe", "sentencepiece_bpe")):
        members = [scripted(SMALL[kind](), PROMPTS[0], ANSWER, limit=24) for kind in (main, other)]
        plain, drafted = (EnsembleLLM(members, draft_tokens=count).generate(PROMPTS[0]) for count in (0, 6))
        assert drafted == plain
        assert plain.finish_reason == "length"


def test_a_draft_model_drafts_only_within_its_own_window() -> None:
    members = [small("llama", "byte_level_bpe"), small("gemma", "sentencepiece_bpe", seed=3)]
    size, end = members[0][0].config.vocab_size, members[0][1].eos_token_id
    tokens = {"vocab_size": size, "eos_token_id": end, "bos_token_id": None}
    config = GPT2Config(n_embd=24, n_layer=2, n_head=4, n_positions=16, **tokens)
    drafting = (AutoModelForCausalLM.from_config(config).eval(), members[0][1])
    prompts = ["The", PROMPTS[0], " and the dog" * 12]
    plain = EnsembleLLM(members, fusion="bayes")
    drafted = EnsembleLLM(members, fusion="bayes", draft_tokens=4, draft_model=drafting)
    found = plain.generate(prompts, max_new_tokens=24)
    assert drafted.generate(prompts, max_new_tokens=24) == found
    assert [drafted.generate(one, max_new_tokens=24) for one in prompts] == found
    assert drafted.score(prompts[2], " and so on.").total == pytest.approx(plain.score(prompts[2], " and so on.").total)


def test_a_draft_model_that_cannot_draft_is_refused() -> None:
    members = [small("llama", "byte_level_bpe"), small("gemma", "sentencepiece_bpe")]
    with pytest.raises(ConfigError, match="another vocabulary than the main model"):
        EnsembleLLM(members, draft_tokens=4, draft_model=members[1])
    with pytest.raises(ConfigError, match="draft no token"):
        EnsembleLLM(members, draft_model=members[0])
