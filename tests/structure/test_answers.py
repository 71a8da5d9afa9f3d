"""The laws of structured answers, over ensembles of every kind of vocabulary."""

import asyncio
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from scipy.stats import chisquare

from deepen_llm import Bayes, Deepen, EnsembleLLM, FusionMethod
from deepen_llm.engine.advancing import constrained
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.fusing import fuse
from deepen_llm.engine.tokens import Boundary
from deepen_llm.errors import ConfigError, ContextLengthError
from deepen_llm.requests.prompts import encode_text
from deepen_llm.structure import Grammars
from deepen_llm.structure.schema import enforceable
from deepen_llm.testing import scripted
from deepen_llm.tools import grammar as lark
from tests.fusion.registered import FUSIONS
from tests.laws.test_decoding import ARCHITECTURES, KINDS, PROMPTS, ensemble
from tests.models import small
from tests.structure.documents import MANY, SCHEMAS, Person, Place
from tests.tokenizers import byte_level_bpe, sentencepiece_bpe

PAIRS = [pair for pair in itertools.permutations(KINDS, 2) if pair[0] != "wordpiece"]
EACH_KIND = PAIRS[::5]  # each once as the main model, and each but the first as another
PROMPT = PROMPTS[0]
INTEGERS = {"response_format": list[int]}


def shortest(llm: EnsembleLLM, schema: Any) -> int:
    grammar = Grammars(llm.main_model.vocabulary).compile(lark.of_schema(enforceable(schema)))
    return len(grammar.guide().closing)


@pytest.mark.parametrize("group", range(4))
def test_random_ensembles_of_every_pair_give_a_hundred_valid_answers(group: int) -> None:
    """Seven samples of each pair, decoded together; every main model meets every method, and both schemas."""
    for seed in range(group, len(PAIRS), 4):
        pair, fusion = PAIRS[seed], FUSIONS[(seed + seed // 4) % len(FUSIONS)]
        members = [small(ARCHITECTURES[kind], kind, 100 + seed + place) for place, kind in enumerate(pair)]
        llm = EnsembleLLM(members, fusion=fusion)
        asked = (Person, Place)[seed // 2 % 2]
        least = shortest(llm, asked.model_json_schema())
        options = {"temperature": 1.0, "seed": 10 * seed, "n": 7, "max_new_tokens": least + seed % 8}
        for one in llm.generate(PROMPTS[seed // 4 % 4], response_format=asked, **options).samples:
            assert isinstance(one.parsed, asked)
            assert len(one.tokens) <= options["max_new_tokens"]
        with pytest.raises(ConfigError, match="is too few for an answer of this structure"):
            llm.generate(PROMPT, response_format=asked, max_new_tokens=least - 1)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_structure_ends_whole_and_says_how(schema: str) -> None:
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe")
    asked = SCHEMAS[schema]
    least = shortest(llm, asked)
    filtered = ((7, 1.2, {"top_k": 3}), (20, 1.0, {"top_p": 0.3, "min_p": 0.01}))[list(SCHEMAS).index(schema) % 2]
    for more, penalty, filters in ((0, 1.0, {}), filtered):
        options = {"temperature": 1.0, "seed": more, "repetition_penalty": penalty, **filters}
        out = llm.generate(PROMPT, response_format=asked, max_new_tokens=least + more, **options)
        Draft202012Validator(enforceable(asked)).validate(out.parsed)
        assert len(out.tokens) <= least + more
        assert out.finish_reason in {"eos", "length"}


def test_the_reason_is_eos_where_the_models_ended_the_answer_and_length_where_it_was_brought_to_an_end() -> None:
    answer = '{"city": "Zürich", "visits": [1, 22]}'
    llm = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, answer), scripted(sentencepiece_bpe(), PROMPT, answer)])
    whole = llm.generate(PROMPT, response_format=Place)
    assert (whole.text, whole.finish_reason) == (answer, "eos")
    assert whole.parsed == Place(city="Zürich", visits=[1, 22])
    size = len(whole.tokens)  # nothing may follow, so no end of text is needed
    assert llm.generate(PROMPT, response_format=Place, max_new_tokens=size) == whole
    for bound in range(shortest(llm, Place.model_json_schema()), size, 2):
        cut = llm.generate(PROMPT, response_format=Place, max_new_tokens=bound)
        assert cut.finish_reason == "length"
        assert cut.parsed != whole.parsed
        assert len(cut.tokens) <= bound


def test_an_answer_may_be_free_to_begin_and_to_end_anywhere() -> None:
    for answer, asked in (("[]", list[int]), ("{}", SCHEMAS["optional"]), ("7", int), ("[1,2]", list[int])):
        llm = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, answer)])
        out = llm.generate(PROMPT, response_format=asked)
        assert (out.text, out.finish_reason) == (answer, "eos")
        assert out.parsed == json.loads(answer)


def test_models_that_never_come_to_an_end_are_brought_to_one() -> None:
    """Characters of several tokens, strings, nesting and white space without end."""
    kinds = (byte_level_bpe(), sentencepiece_bpe())
    for answer in ('{"name": "' + "🚀東ß" * 200, '[["x", ' * 300, " \n" * 300, '{"name": "\\u00e' + "\\\\" * 300):
        llm = EnsembleLLM([scripted(kind, PROMPT, answer) for kind in kinds])
        deep = {"anyOf": [{"type": "object", "properties": {"name": {"type": "string"}}}, {"type": "array"}]}
        for bound in (2, 3, 7, 24):
            out = llm.generate(PROMPT, response_format=deep, max_new_tokens=bound)
            assert len(out.tokens) <= bound
            assert isinstance(out.parsed, dict | list)


@pytest.mark.parametrize("pair", EACH_KIND, ids="-".join)
def test_a_smaller_window_of_another_member_still_gives_a_whole_answer(pair: tuple[str, str]) -> None:
    llm = ensemble(*pair)
    other = llm.members[1]
    prompt = len(other.encode_prompt(PROMPT).ids)
    for more in (0, 5):
        other.context_length = prompt + len(llm_closing(llm)) + 8 + more
        out = llm.generate(PROMPT, response_format=Place, temperature=1.0, seed=more, n=5)
        for sample in out.samples:
            assert isinstance(sample.parsed, Place)
    with forbidden(other):
        other.context_length = prompt + len(llm_closing(llm)) - 1
        with pytest.raises(ContextLengthError, match="no room in a context window for an answer of this structure"):
            llm.generate(PROMPT, response_format=Place)


def llm_closing(llm: EnsembleLLM) -> bytes:
    grammar = Grammars(llm.main_model.vocabulary).compile(lark.of_schema(enforceable(Place.model_json_schema())))
    vocabulary = llm.members[0].vocabulary
    return b"".join(vocabulary.surfaces[token] or b"" for token in grammar.guide().closing)


@contextmanager
def forbidden(*members: Any) -> Iterator[None]:
    """No forward of these members' models."""

    def fail(*_: object) -> None:
        raise AssertionError("a forward")

    hooks = [member.model.register_forward_pre_hook(fail) for member in members]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def test_too_little_room_is_an_error_before_any_forward() -> None:
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe")
    least = shortest(llm, Place.model_json_schema())
    with forbidden(*llm.members):
        with pytest.raises(ConfigError, match=f"a short one takes {least}"):
            llm.generate(PROMPT, response_format=Place, max_new_tokens=least - 1)
        llm.members[0].context_length = len(llm.members[0].encode_prompt(PROMPT).ids) + least - 1
        with pytest.raises(ContextLengthError, match="no room in a context window"):
            llm.generate(PROMPT, response_format=Place)
        results = llm.generate([PROMPT, PROMPT], response_format=Place, return_exceptions=True)
        assert [type(result) for result in results] == [ContextLengthError] * 2


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.method)
def test_tokens_follow_the_fused_distribution_over_the_allowed_ones(fusion: FusionMethod) -> None:
    count = 800
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe", fusion=fusion, batch_size=count)
    contexts = Contexts(llm.ensemble, [encode_text(llm.ensemble, PROMPT)])
    fused = fuse(contexts, [()], [[Boundary()]]).logits
    allowed = Grammars(llm.main_model.vocabulary).compile(lark.of_schema({"type": "integer"})).guide().allowed()
    p = fused[0].masked_fill(~allowed, -torch.inf).double().softmax(-1)
    options = {"response_format": int, "temperature": 1.0, "seed": 0, "max_new_tokens": 2, "n": count, "logprobs": 0}
    samples = llm.generate(PROMPT, **options).samples
    drawn = Counter(sample.tokens[0] for sample in samples)
    assert all(allowed[token] for token in drawn)
    ids = [token for token in range(len(p)) if p[token] * count >= 5]
    expected = [float(p[token]) * count for token in ids]
    observed = [drawn[token] for token in ids]
    if (rest := count - sum(expected)) >= 1:
        expected, observed = [*expected, rest], [*observed, count - sum(observed)]
    assert chisquare(observed, [value * sum(observed) / sum(expected) for value in expected]).pvalue > 1e-4
    free = fused[0].log_softmax(-1)  # log-probabilities are the free distribution's
    for sample in samples[:50]:
        assert sample.logprobs is not None
        assert sample.logprobs[0].logprob == pytest.approx(float(free[sample.tokens[0]]), abs=1e-4)


@pytest.mark.parametrize("pair", EACH_KIND, ids="-".join)
def test_law_6_holds_for_structured_answers(pair: tuple[str, str]) -> None:
    llm = ensemble(*pair, batch_size=3)
    options: Any = {"response_format": Place, "max_new_tokens": 45, "temperature": 1.0, "seed": 3, "n": 2, "top_p": 0.9}
    prompts = PROMPTS[:3]
    batch = llm.generate(prompts, **options)
    assert batch == [llm.generate(prompt, **options) for prompt in prompts]
    assert len({sample.text for out in batch for sample in out.samples}) > len(prompts)
    one = {**options, "n": 1}
    stream = llm.stream(PROMPT, **one)
    assert "".join(stream) == batch[0].text
    assert stream.output is not None
    assert stream.output.samples[0] == batch[0].samples[0]

    async def run() -> None:
        assert await llm.agenerate(PROMPTS[:2], **options) == batch[:2]
        pieces = [piece async for piece in llm.astream(PROMPT, **one)]
        assert "".join(pieces) == batch[0].text

    if pair == EACH_KIND[-1]:
        asyncio.run(run())


def test_an_abandoned_stream_leaves_nothing_behind() -> None:
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe")
    options = {"response_format": Person, "temperature": 1.0, "seed": 5, "max_new_tokens": 60}
    whole = llm.generate(PROMPT, **options)
    stream = llm.stream(PROMPT, **options)
    assert whole.text.startswith(next(stream))
    stream.close()
    assert stream.output is None
    assert llm.generate(PROMPT, **options) == whole


def test_threads_share_an_ensemble_and_its_grammars() -> None:
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe")
    asked = [Person, SCHEMAS["loops"], SCHEMAS["deep"], Place]
    options = [
        {"response_format": asked[seed % 4], "temperature": 1.0, "seed": seed, "max_new_tokens": 60}
        for seed in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda given: llm.generate(PROMPT, **given), options))
    fresh = ensemble("byte_level_bpe", "sentencepiece_bpe")
    assert found == [fresh.generate(PROMPT, **given) for given in options]


def test_a_stop_string_cuts_no_structure() -> None:
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe", generation={"stop": ["x", '"']})
    assert isinstance(llm.generate(PROMPT, response_format=Place).parsed, Place)  # the ensemble's own are for free text
    with pytest.raises(ConfigError, match="would cut a structured answer short"):
        llm.generate(PROMPT, response_format=Place, stop="x")


def test_the_main_model_chooses_where_fusion_leaves_nothing() -> None:
    """fp32 has no probabilities below 1e-45: of two strong opinions on forbidden tokens nothing else is left."""
    kinds = (byte_level_bpe(), sentencepiece_bpe())
    for fusion, policy in itertools.product((Bayes(), Deepen()), ("fused", "main")):
        members = [scripted(kind, PROMPT, " no JSON at all", strength=500.0) for kind in kinds]
        llm = EnsembleLLM(members, fusion=fusion, eos_policy=policy)
        temperature = float((policy == "main") != (fusion == Bayes()))
        out = llm.generate(PROMPT, response_format=Place, max_new_tokens=50, temperature=temperature, seed=1)
        assert isinstance(out.parsed, Place)


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.method)
def test_the_main_model_alone_may_end_an_answer_that_may_end(fusion: FusionMethod) -> None:
    kinds = (byte_level_bpe(), sentencepiece_bpe())
    early = [scripted(kinds[0], PROMPT, "[1, 2"), scripted(kinds[1], PROMPT, "[1, 2, 3, 4]")]
    out = EnsembleLLM(early, fusion=fusion, eos_policy="main").generate(PROMPT, max_new_tokens=30, **INTEGERS)
    assert out.parsed[0] == 1  # it wants an end where none is allowed
    late = [scripted(kinds[0], PROMPT, "[1, 2, 3, 4]"), scripted(kinds[1], PROMPT, "[1")]
    out = EnsembleLLM(late, fusion=fusion, eos_policy="main").generate(PROMPT, max_new_tokens=60, **INTEGERS)
    assert out.finish_reason == "eos"


def test_masks_are_rows_own() -> None:
    fused, main = torch.tensor([[0.0, 1.0, -torch.inf]] * 3), torch.tensor([[5.0, 4.0, 3.0]] * 3)
    masks = [None, torch.tensor([True, False, True]), torch.tensor([False, False, True])]
    rows = [type("Masked", (), {"allowed": lambda self, mask=mask: mask})() for mask in masks]
    expected = [[0.0, 1.0, -math.inf], [0.0, -math.inf, -math.inf], [-math.inf, -math.inf, 3.0]]
    assert constrained(fused, main, rows).tolist() == expected
    assert constrained(fused, main, rows[:1]) is fused


def test_many_alternatives_and_deep_nesting_are_quick_enough() -> None:
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe")
    out = llm.generate(PROMPT, response_format={"enum": MANY}, temperature=1.0, seed=0, n=4)
    assert all(sample.parsed in MANY for sample in out.samples)
    nested: dict[str, Any] = {"type": "integer"}
    for _ in range(25):
        nested = {"type": "object", "properties": {"a": nested}, "required": ["a"]}
    assert "a" in llm.generate(PROMPT, response_format=nested, max_new_tokens=2000).parsed


def test_special_tokens_stay_out_of_an_answer_and_spelled_ones_are_text() -> None:
    answer = '{"name": "<|end|></s>"}'
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    llm = EnsembleLLM([scripted(sentencepiece_bpe(), PROMPT, '{"name": "<|end|>')])
    out = llm.generate(PROMPT, response_format=schema, max_new_tokens=40)
    assert json.loads(out.text)["name"].startswith("<|end|>")
    specials = llm.members[0].vocabulary.special
    assert not specials & set(out.tokens[:-1])
    literal = EnsembleLLM([scripted(byte_level_bpe(), PROMPT, answer.replace("<|end|>", ""))])
    assert literal.generate(PROMPT, response_format=schema).text == answer.replace("<|end|>", "")
