"""The laws of the whole: what an ensemble must be, whatever its members and its fusion method."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm import Bayes, EnsembleLLM, FusionMethod
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.fusing import fuse
from deepen_llm.engine.text import TextAssembler
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.requests.prompts import encode_text
from deepen_llm.testing import scripted
from tests.fusion.registered import BY_NAME, FUSIONS
from tests.models import random_model, small
from tests.tokenizers import REAL, SMALL

KINDS = list(SMALL)
PAIRS = list(itertools.permutations(KINDS, 2))
ARCHITECTURES = dict(zip(KINDS, ["llama", "gpt_neox", "gpt2", "gemma", "qwen2"], strict=True))
SURFACE = BY_NAME["surface"]
OTHERS = [fusion for fusion in FUSIONS if fusion != SURFACE]
# Each kind, as main model and as another, by surfaces, and with the other methods in turn.
TURNED = [((KINDS[i - 1], kind), OTHERS[i % len(OTHERS)]) for i, kind in enumerate(KINDS)]
MET = [*TURNED, *(((kind, KINDS[i - 2]), SURFACE) for i, kind in enumerate(KINDS))]
MEETINGS = pytest.mark.parametrize(("pair", "fusion"), MET, ids=[f"{'-'.join(p)}-{f.method}" for p, f in MET])
PROMPTS = ["The quick brown fox", "She sells sea shells by the", "Die Antwort auf die große Frage ist", "1, 2, 3,"]


def ensemble(*kinds: str, fusion: FusionMethod = BY_NAME["bayes"], **settings: object) -> EnsembleLLM:
    members = [small(ARCHITECTURES[kind], kind, seed) for seed, kind in enumerate(kinds)]
    return EnsembleLLM(members, fusion=fusion, **settings)  # type: ignore[arg-type]


READERS = ["llama", "gpt_neox", "gpt2", "gemma", "qwen2", "sliding", "longrope", "mamba"]


@pytest.mark.parametrize(("architecture", "kind"), [*zip(READERS, KINDS + KINDS[:3], strict=True)])
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_law_1_one_member_is_that_model(architecture: str, kind: str) -> None:
    model, tokenizer = small(architecture, kind, wider=3)
    llm = EnsembleLLM([(model, tokenizer)])
    for prompt, penalty in zip(PROMPTS[:2], (1.0, 1.3), strict=True):
        ids = torch.tensor([tokenizer.encode(prompt)])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=24,
            repetition_penalty=penalty,
            pad_token_id=0,
            use_cache=architecture != "longrope",  # transformers 5.0 goes on from a cache of other positions
            suppress_tokens=list(range(len(tokenizer), len(tokenizer) + 3)),
        )
        out = llm.generate(prompt, max_new_tokens=24, repetition_penalty=penalty)
        assert list(out.tokens) == expected[0, ids.shape[1] :].tolist()


@MEETINGS
def test_law_2_the_same_model_twice_or_no_weight_is_one(pair: tuple[str, str], fusion: FusionMethod) -> None:
    one, other = small(ARCHITECTURES[pair[0]], pair[0]), small("llama", pair[1], seed=5)
    penalised: tuple[dict[str, Any], ...] = ({"max_new_tokens": 10}, {"max_new_tokens": 10, "repetition_penalty": 1.3})
    for options in penalised:
        alone = EnsembleLLM([one]).generate(PROMPTS, **options)
        for llm in (EnsembleLLM([one, one], fusion=fusion), EnsembleLLM([one, other], weights=[1, 0], fusion=fusion)):
            assert [out.tokens for out in llm.generate(PROMPTS, **options)] == [out.tokens for out in alone]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_laws_4_and_5_every_member_has_heard_the_committed_text(pair: tuple[str, str]) -> None:
    llm = ensemble(*pair)
    main, other = llm.members
    prompt = encode_text(llm.ensemble, PROMPTS[0])
    contexts = Contexts(llm.ensemble, [prompt])
    assembler, tokens = TextAssembler(), list(prompt[0].ids)
    choices = torch.Generator().manual_seed(1)
    for _ in range(20):
        fused = fuse(contexts, [()], [[Boundary(assembler.unfinished)]]).logits
        token = int(torch.multinomial(fused[0].softmax(-1), 1, generator=choices))
        contexts.commit([[Token(token, assembler.feed(main.vocabulary.surfaces[token] or b""))]])
        tokens.append(token)
        assert contexts.by_member[0].ids == [tokens]
        afresh = other.open([other.encode_prompt(PROMPTS[0])])
        afresh.append([[assembler.text]])
        assert contexts.by_member[1].ids == afresh.ids
        torch.testing.assert_close(contexts.by_member[1].logits(), afresh.logits(), atol=2e-4, rtol=1e-4)
    surfaces = b"".join(main.vocabulary.surfaces[token] or b"" for token in tokens[len(prompt[0].ids) :])
    assert surfaces.decode(errors="replace").startswith(assembler.text)


@MEETINGS
def test_law_6_a_batch_is_its_prompts_one_by_one(pair: tuple[str, str], fusion: FusionMethod) -> None:
    llm = ensemble(*pair, fusion=fusion, batch_size=3)
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 0.8, "top_p": 0.9, "seed": 3, "n": 2}
    batch = llm.generate(PROMPTS, **options)
    assert batch == [llm.generate(prompt, **options) for prompt in PROMPTS]  # drawn again: a seed repeats
    assert batch[0].samples[0] != batch[0].samples[1]


@given(st.lists(st.text(min_size=1, max_size=3), max_size=3), st.integers(0, 1000), st.sampled_from(PAIRS))
@settings(max_examples=12, deadline=None)
def test_law_6_a_streams_pieces_join_to_the_whole(stop: list[str], seed: int, pair: tuple[str, str]) -> None:
    llm = streaming(pair)
    options = {"max_new_tokens": 16, "temperature": 1.0, "seed": seed, "stop": [*stop, "e", " th"]}
    stream = llm.stream(PROMPTS[0], **options)
    pieces = list(stream)
    whole = llm.generate(PROMPTS[0], **options)
    assert "".join(pieces) == whole.text
    assert all(pieces)
    assert stream.output == whole
    assert not any(end in whole.text for end in [*stop, "e", " th"])


@cache
def streaming(pair: tuple[str, str]) -> EnsembleLLM:
    return ensemble(*pair)


def test_law_6_asynchronous_equals_synchronous() -> None:
    llm = ensemble(KINDS[0], KINDS[1])
    options: dict[str, Any] = {"max_new_tokens": 12}

    async def run() -> None:
        one, many = await asyncio.gather(llm.agenerate(PROMPTS[0], **options), llm.agenerate(PROMPTS, **options))
        stream = llm.astream(PROMPTS[0], **options)
        pieces = [piece async for piece in stream]
        assert one == llm.generate(PROMPTS[0], **options) == stream.output
        assert "".join(pieces) == one.text
        assert many == llm.generate(PROMPTS, **options)

    asyncio.run(run())


@MEETINGS
def test_law_7_sampling_follows_the_fused_distribution(pair: tuple[str, str], fusion: FusionMethod) -> None:
    count = 1500
    llm = ensemble(*pair, fusion=fusion, batch_size=count)
    first = llm.generate(PROMPTS[0], max_new_tokens=1, logprobs=1000).logprobs
    assert first is not None
    p = torch.tensor([one.logprob for one in first[0].top]).exp().double()
    ids = [one.token for one in first[0].top]
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    out = llm.generate(PROMPTS[0], max_new_tokens=1, temperature=1, seed=11, n=count)
    counts = dict.fromkeys(ids, 0)
    for sample in out.samples:
        counts[sample.tokens[0]] += 1
    frequent = [place for place in range(len(ids)) if p[place] * count >= 10]
    observed = [counts[ids[place]] for place in frequent]
    expected = [float(p[place]) * count for place in frequent]
    observed, expected = [*observed, count - sum(observed)], [*expected, count - sum(expected)]
    assert len(frequent) > 5
    assert chisquare(observed, expected).pvalue > 1e-4  # one of 10 fails by chance in one seed of 1,000


@pytest.mark.parametrize(
    ("fusion", "eos_policy"),
    [(fusion, ("fused", "main")[i % 2]) for i, fusion in enumerate(FUSIONS)],
    ids=[fusion.method for fusion in FUSIONS],
)
def test_scores_are_the_log_probabilities_of_generated_tokens(fusion: FusionMethod, eos_policy: str) -> None:
    llm = ensemble(KINDS[1], KINDS[0], fusion=fusion, eos_policy=eos_policy)
    for out in (
        one
        for seed in range(40)
        for one in [llm.generate(PROMPTS[0], max_new_tokens=3, logprobs=0, seed=seed, temperature=0.7)]
    ):
        score = llm.score(PROMPTS[0], out.text)
        if [one.token for one in score.tokens] == list(out.tokens):  # the answer is its text's own encoding
            assert out.logprobs is not None
            assert [one.logprob for one in score.tokens] == pytest.approx(
                [one.logprob for one in out.logprobs], abs=1e-3
            )
            assert score.total == pytest.approx(sum(one.logprob for one in out.logprobs), abs=1e-3)
            return
    pytest.fail("no generated answer was its text's own encoding")


@pytest.mark.parametrize("kinds", [("mistral_v3", "cl100k"), ("cl100k", "mistral_v3")], ids="-".join)
def test_160_tokens_cost_each_model_at_most_1_3_tokens_each(kinds: tuple[str, str]) -> None:
    text = (Path(__file__).parents[2] / "LICENSE").read_text()[2000:6000]
    start = text.index(" ", 500)
    prompt, answer = text[:start], text[start:]
    tokenizers = [REAL[kind]() for kind in kinds]
    members = [scripted(tokenizers[0], prompt, answer), small_with(tokenizers[1])]
    llm = EnsembleLLM(members, fusion=Bayes(max_rows=64, anchor_choice="random", anchor_count=512))
    with counted(members[0][0]) as main, counted(members[1][0]) as other:
        out = llm.generate(prompt, max_new_tokens=160)
    assert len(out.tokens) == 160
    assert answer.startswith(out.text)
    lengths = [len(encoded.ids) for encoded in encode_text(llm.ensemble, prompt)]
    extra = [sum(count) - length for count, length in zip((main, other), lengths, strict=True)]
    assert extra[0] == 159  # the last token needs no reading
    assert extra[1] <= 1.3 * 160


@contextmanager
def counted(model: PreTrainedModel) -> Iterator[list[int]]:
    """The number of tokens that the model computes, forward by forward."""
    counts: list[int] = []

    def count(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        counts.append(given["input_ids"].numel())

    with model.register_forward_pre_hook(count, with_kwargs=True):
        yield counts


def small_with(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A random model for a real vocabulary."""
    return random_model("llama", len(tokenizer), tokenizer.eos_token_id), tokenizer
