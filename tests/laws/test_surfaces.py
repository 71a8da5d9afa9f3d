"""The laws of fusion by surfaces, end to end: what members are sure of is written, whatever the main model's pieces."""

import copy
import itertools
import json
from functools import cache
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from deepen_llm import EnsembleLLM, Surface
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.fusing import fuse, to_reread
from deepen_llm.engine.text import TextAssembler
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.requests.prompts import encode_text
from deepen_llm.testing import scripted
from tests.company import answered_alike, model_of
from tests.laws.test_decoding import PROMPTS, ensemble
from tests.models import small
from tests.structure.documents import Place
from tests.sure import SureMember
from tests.tokenizers import SMALL, Builder, bytes_only

BUILDERS: dict[str, Builder] = {**SMALL, "bytes": bytes_only}
KINDS = list(BUILDERS)
PAIRS = list(itertools.permutations(KINDS, 2))
STARTS = ["The quick brown fox", "Der gro", "x = 1 ", "N"]
SENTENCES = [" jumps over the lazy dog.", " 1984, 🚀 and café?", " Zwölf Boxkämpfer", " булок\n\tfor i in range(10):"]


@cache
def sure(kind: str) -> SureMember:
    return SureMember(BUILDERS[kind], f"sure {kind}")


@cache
def unsure(kind: str) -> SureMember:
    return SureMember(BUILDERS[kind], f"unsure {kind}", strength=0.0)


def words(one: SureMember, main: LocalMember, prompt: str, most: int) -> list[str]:
    """Some words that a member has a token of, that it reaches at every beginning of it, and that a main model has."""
    start, found = list(one.encode_prompt(prompt).ids), list[str]()
    known = sorted((-len(surface), surface) for surface in one.vocabulary.surfaces if surface)
    for _, surface in known[:: max(1, len(known) // 40)]:
        word = surface.decode(errors="ignore")
        if (
            word.encode() == surface
            and not (prompt + word).count("  ")
            and _is_reached(one, prompt, start, word)
            and _is_written(main, word)
        ):
            found.append(word)
        if len(found) == most:
            break
    return found


def _is_reached(one: SureMember, prompt: str, start: list[int], word: str) -> bool:
    encoded = [one.say(prompt, word[:size]) for size in range(len(word) + 1)]
    short = all(ids[: len(start)] == start and len(ids) <= len(start) + 4 for ids in encoded)
    return short and len(encoded[-1]) == len(start) + 1


def _is_written(main: LocalMember, word: str) -> bool:
    """Whether a main model has tokens for all parts of a word."""
    rest = word.encode()
    while rest:
        (first,) = main.first_tokens([rest])
        if first < 0:
            return False
        rest = rest[len(main.vocabulary.surfaces[first] or b"") :]
    return True


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] != "bytes"], ids="-".join)
def test_a_member_that_is_sure_of_a_word_makes_any_main_model_spell_it(pair: tuple[str, str]) -> None:
    """Every pair goes on from two of the starts, every kind from all of them."""
    main, other = unsure(pair[0]), sure(pair[1])
    llm, count = EnsembleLLM([main, other], weights=[0.4, 0.6], fusion="surface"), 0
    for start in STARTS[(KINDS.index(pair[0]) + KINDS.index(pair[1])) % 2 :: 2]:
        prompt = start.rstrip() if pair[1] == "wordpiece" else start  # which drops the space
        for place, word in enumerate(words(other, main, prompt, most=3)):
            begun = place % 3 if len(word) > 2 else 0  # letters of it that the prompt has
            other.say(prompt, word)
            out = llm.generate(prompt + word[:begun], max_new_tokens=len(word.encode()))
            assert out.text.startswith(word[begun:])
            assert out.fused_share == 1
            count += 1
    assert count >= 4


WRITES_ALL = [kind for kind in KINDS if kind not in {"wordpiece", "sentencepiece_unigram"}]
WRITTEN = [(kind, sentence) for i, kind in enumerate(WRITES_ALL) for sentence in SENTENCES[i % 2 :: 2]]
WRITTEN += [(kind, " jumps over the lazy dog") for kind in KINDS if kind not in WRITES_ALL]


@pytest.mark.parametrize(("main", "sentence"), WRITTEN)
def test_what_all_members_are_sure_of_every_main_model_writes(main: str, sentence: str) -> None:
    kinds = [kind for kind in WRITES_ALL if kind != main]
    members = [sure(kind) for kind in (main, *kinds)]
    for member in members:
        member.say(STARTS[0], sentence)
    llm = EnsembleLLM(members, fusion="surface")
    out = llm.generate(STARTS[0], max_new_tokens=99)
    assert (out.text, out.finish_reason) == (sentence, "eos")
    assert llm.score(STARTS[0], out.text).total > -0.1
    assert llm.generate(STARTS[0] + sentence[:4], max_new_tokens=99).text == sentence[4:]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        *zip(
            ({"draft_tokens": 4}, {"gate": "unsure"}, {"eos_policy": "main"}, {"draft_tokens": 2}),
            SENTENCES,
            strict=True,
        )
    ],
    ids=str,
)
def test_it_is_written_with_every_option(options: dict[str, Any], sentence: str) -> None:
    members = [sure(kind) for kind in ("sentencepiece_bpe", "byte_level_bpe", "unigram_byte_fallback")]
    for member in members:
        member.say(STARTS[0], sentence)
    out = EnsembleLLM(members, fusion="surface", **options).generate(STARTS[0], max_new_tokens=99)
    assert (out.text, out.finish_reason) == (sentence, "eos")


def test_a_structure_holds_where_others_push_the_main_model_off_its_own_pieces() -> None:
    answer, prompt = json.dumps({"city": "Zürich 🚀", "visits": [1, 22]}, ensure_ascii=False), STARTS[0]
    for kind in ("byte_level_bpe", "sentencepiece_bpe", "unigram_byte_fallback", "bytes"):
        others = [sure(one) for one in ("byte_level_bpe", "sentencepiece_bpe") if one != kind]
        for other in others:
            other.say(prompt, answer)
        llm = EnsembleLLM([unsure(kind), *others], fusion="surface")
        out = llm.generate(prompt, response_format=Place, max_new_tokens=200)
        assert isinstance(out.parsed, Place)
        assert out.text.count('"city"') == 1


@pytest.mark.parametrize("pair", PAIRS[::4], ids="-".join)
def test_a_token_that_is_not_its_own_lets_the_main_model_read_its_own_encoding(pair: tuple[str, str]) -> None:
    llm = EnsembleLLM([unsure(pair[0]), sure(pair[1])], weights=[0.4, 0.6], fusion="surface")
    main, other = llm.members
    sure(pair[1]).say(PROMPTS[0], " jumps over the lazy dog and Zwölf Boxkämpfer 1984")
    contexts = Contexts(llm.ensemble, [encode_text(llm.ensemble, PROMPTS[0])])
    assembler, read, moved = TextAssembler(), 0, 0
    for _ in range(30):
        fused = fuse(contexts, [()], [[Boundary(assembler.unfinished)]])
        token = int(fused.logits[0].argmax())
        if token in main.vocabulary.end_of_text:
            break
        before = list(contexts.ids[0])
        contexts.commit([[Token(token, assembler.feed(main.vocabulary.surfaces[token] or b""))]])
        rows = to_reread(contexts, fused, [0], [0], [token])
        assert rows == ([0] if token != int(fused.report.main[0].argmax()) else [])
        contexts.reread(rows)
        ids, text = contexts.ids[0], assembler.text
        own = main.open([main.encode_prompt(PROMPTS[0])])
        own.append([[text]])
        if rows and not assembler.unfinished and "\ufffd" not in text and _spells(main, own.ids[0], text):
            assert ids == (own.ids[0] if len(own.ids[0]) <= len(before) + 1 else [*before, token])
            moved, read = moved + 1, read + (ids != [*before, token])
        elif not rows:
            assert ids == [*before, token]
        heard = other.open([other.encode_prompt(PROMPTS[0])])
        heard.append([[text]])
        assert contexts.by_member[1].ids == heard.ids
    assert moved


def _spells(one: Member, ids: list[int], text: str) -> bool:
    return b"".join(one.vocabulary.surfaces[id_] or b"" for id_ in ids).endswith(text.encode())


PIECES = [" ov", "er", " the", " la", "zy", "", ".\n", "🚀", " 12", "34", "  ", "你", " Zw", "ölf"]
MODELS = ["llama", "sliding", "mpt", "gpt_neo", "longrope", "mamba"]


@pytest.mark.parametrize(("architecture", "kind"), [*zip(MODELS, KINDS, strict=True), ("longrope", "wordpiece")])
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_trails_are_those_of_a_context_that_is_opened_afresh(architecture: str, kind: str) -> None:
    one = LocalMember(*model_of(architecture, kind))
    prompts = [one.encode_prompt(prompt) for prompt in PROMPTS[:3]]
    context, texts = one.open(prompts, back=4), ["", "", ""]
    for step, piece in enumerate(PIECES):
        said = [piece, PIECES[-1 - step], piece * (step % 3)]
        context.append([[heard] for heard in said])
        texts = [text + heard for text, heard in zip(texts, said, strict=True)]
        drafts = [[PIECES[step - 1]] if step % 4 == 0 else [], [], []]
        drafts = [draft[: len(fits) - 1] for draft, fits in zip(drafts, context.boundaries(drafts), strict=True)]
        reading = context.read(drafts)
        places = [
            (prompt, "".join([text, *draft[:depth]]))
            for prompt, text, draft in zip(prompts, texts, drafts, strict=True)
            for depth in range(len(draft) + 1)
        ]
        for place, (prompt, text) in enumerate(places):
            fresh = one.open([prompt], back=4)
            fresh.append([[text]])
            again = fresh.read([()])
            torch.testing.assert_close(reading.logits[place], again.logits[0], atol=2e-4, rtol=1e-4)
            trail, expected = reading.trails[place], again.trails[0]
            assert (trail.tokens, trail.dropped) == (expected.tokens, expected.dropped)
            for found, known in zip(trail.logits, expected.logits, strict=True):
                torch.testing.assert_close(found, known, atol=2e-4, rtol=1e-4)
        if step == 6:
            context.select([2, 0, 2])
            prompts, texts = [prompts[2], prompts[0], prompts[2]], [texts[2], texts[0], texts[2]]
        if step == 9:
            context.join(one.open(prompts[:1], back=4))
            context.select([3, 1, 2])
            texts[0], prompts[0] = "", prompts[0]
    context.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_trail_spells_the_end_of_the_text_and_stops_at_special_tokens(kind: str) -> None:
    one = sure(kind)
    messages = [{"role": "user", "content": "What is the capital?"}]
    for prompt in (one.encode_chat(messages), one.encode_prompt(f"The fox{one.tokenizer.eos_token}")):
        context = one.open([prompt], back=9)
        for piece in ["", " Par", "is", " 19"]:
            context.append([[piece]])
            (trail,) = context.read([()]).trails
            ids = context.ids[0]
            assert list(trail.tokens) == ids[len(ids) - len(trail.tokens) :][::-1]
            assert len(trail.tokens) == len(trail.logits) < len(ids)
            assert not one.vocabulary.special.intersection(trail.tokens)


def test_a_word_that_the_prompt_begins_with_is_heard_too_where_a_space_is_put_before_it() -> None:
    tokenizer = copy.deepcopy(SMALL["sentencepiece_bpe"]())
    start = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    other, main = SureMember(lambda: tokenizer, "with a start"), unsure("byte_level_bpe")
    llm = EnsembleLLM([main, other], weights=[0.4, 0.6], fusion="surface")
    assert other.vocabulary.surfaces[other.say("The", "")[1]] == b" The"
    assert llm.generate("T", max_new_tokens=2).text.startswith("he")


SETTINGS: list[tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]] = [
    (("llama", "sliding"), ("byte_level_bpe", "sentencepiece_bpe"), {}),
    (("sliding", "mpt", "llama"), ("sentencepiece_bpe", "wordpiece", "byte_level_bpe"), {"weights": [1, 0, 2]}),
    (("gpt2", "longrope"), ("bytes", "sentencepiece_unigram"), {"gate": "boundary"}),
    (("llama", "mamba"), ("wordpiece", "byte_level_bpe"), {"eos_policy": "main"}),
    (("mamba", "gemma"), ("unigram_byte_fallback", "bytes"), {}),
    (("gpt_neox", "qwen2"), ("byte_level_bpe", "bytes"), {"gate": "unsure"}),
    (("qwen2", "llama"), ("byte_level_bpe", "sentencepiece_bpe"), {"weights": "entropy"}),
    (("llama", "gpt2", "llama"), ("byte_level_bpe", "unigram_byte_fallback", "byte_level_bpe"), {"straddle": 0}),
]


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_batches_drafts_streams_and_threads_change_nothing(setting: int) -> None:
    """Greedy and sampled in turn: four sequences each, one more than are decoded at once."""
    architectures, kinds, options = SETTINGS[setting]
    options = dict(options)
    fusion = Surface(straddle=options.pop("straddle", 4))
    models = [model_of(*one, seed) for seed, one in enumerate(zip(architectures, kinds, strict=True))]
    asked: dict[str, Any] = {"max_new_tokens": 10, "repetition_penalty": 1.1}
    sampled = setting % 2 == 1
    asked |= {"temperature": 0.9, "seed": 5, "n": 2} if sampled else {}
    answered_alike(models, PROMPTS[:2] if sampled else PROMPTS, asked, fusion=fusion, **options)


def test_a_draft_model_changes_nothing() -> None:
    members = [small("llama", "byte_level_bpe"), small("gemma", "sentencepiece_bpe", seed=3)]
    plain = EnsembleLLM(members, fusion="surface").generate(PROMPTS, max_new_tokens=14)
    for drafting in (small("llama", "byte_level_bpe"), small("gpt2", "byte_level_bpe", seed=9)):
        llm = EnsembleLLM(members, fusion="surface", draft_tokens=4, draft_model=drafting)
        assert [out.tokens for out in llm.generate(PROMPTS, max_new_tokens=14)] == [out.tokens for out in plain]


def test_one_token_steps_of_a_fixed_shape_change_nothing() -> None:
    outs = []
    for fixed in (False, True):
        members = [LocalMember(*small("llama", kind)) for kind in ("byte_level_bpe", "sentencepiece_bpe")]
        for member in members:
            member.causal.fixed_steps = fixed
        llm = EnsembleLLM(members, fusion="surface", batch_size=2)
        outs.append(llm.generate(PROMPTS, max_new_tokens=16, temperature=0.7, seed=3))
    assert outs[0] == outs[1]


def test_without_straddling_no_trail_is_asked_for() -> None:
    llm = ensemble("byte_level_bpe", "sentencepiece_bpe", fusion=Surface(straddle=0))
    assert llm.ensemble.fusion.back == 0
    contexts = Contexts(llm.ensemble, [encode_text(llm.ensemble, PROMPTS[0])])
    assert [list(context.read([()]).trails) for context in contexts.by_member] == [[], []]


@pytest.mark.parametrize("draft_tokens", [0, 3])
@pytest.mark.parametrize("kinds", [("byte_level_bpe", "sentencepiece_bpe"), ("bytes", "wordpiece")], ids="-".join)
def test_a_context_window_is_filled_and_never_exceeded(kinds: tuple[str, str], draft_tokens: int) -> None:
    lengths = [len(sure(kind).encode_prompt(PROMPTS[0]).ids) for kind in kinds]
    for rooms in ((6, 80), (80, 6), (9, 7)):
        models = [
            scripted(BUILDERS[kind](), PROMPTS[0], SENTENCES[0] * 9, strength=strength, limit=length + room)
            for kind, length, room, strength in zip(kinds, lengths, rooms, (0.0, 20.0), strict=True)
        ]
        out = EnsembleLLM(models, fusion="surface", draft_tokens=draft_tokens).generate(PROMPTS[0], max_new_tokens=99)
        assert out.finish_reason == "length"
        heard = [len(sure(kind).encode_prompt(PROMPTS[0] + out.text).ids) for kind in kinds]
        full = [count - length - room for count, length, room in zip(heard, lengths, rooms, strict=True)]
        assert max(full) in (-1, 0)


def test_a_greedy_answer_scores_what_it_was_generated_with() -> None:
    members = [sure(kind) for kind in ("byte_level_bpe", "sentencepiece_bpe")]
    for member in members:
        member.say(STARTS[0], SENTENCES[0])
    llm = EnsembleLLM(members, fusion="surface")
    out = llm.generate(STARTS[0], max_new_tokens=99, logprobs=0)
    score = llm.score(STARTS[0], out.text)
    assert all(one.greedy for one in score.tokens)
    assert out.logprobs is not None
    assert [one.logprob for one in score.tokens] == pytest.approx(
        [one.logprob for one in out.logprobs[: len(score.tokens)]], abs=1e-3
    )


@pytest.mark.parametrize(
    "kinds", [("sentencepiece_bpe", "wordpiece", "bytes"), ("bytes", "byte_level_bpe")], ids="-".join
)
def test_many_tokens_score_at_once_as_one_by_one(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    members = [sure(kind) for kind in kinds]
    for member in members:
        member.say(STARTS[0], SENTENCES[0])
    llm, texts = EnsembleLLM(members, fusion="surface"), [SENTENCES[0], SENTENCES[1], " jumps over a cat, 你 🚀"]
    at_once = llm.score([STARTS[0]] * 3, texts)
    monkeypatch.setattr("deepen_llm.engine.given._AHEAD", 0)
    for one, other in zip(at_once, llm.score([STARTS[0]] * 3, texts), strict=True):
        assert [token.logprob for token in one.tokens] == pytest.approx([t.logprob for t in other.tokens], abs=1e-3)


@pytest.mark.parametrize("main", KINDS)
def test_chats_are_answered_as_the_others_are_sure_of(main: str) -> None:
    messages, answer = [{"role": "user", "content": "Where is it?"}], " over the lazy dog"
    others = [sure(kind) for kind in ("byte_level_bpe", "sentencepiece_bpe", "unigram_byte_fallback") if kind != main]
    for other in others:
        start = other.encode_chat(messages)
        other.scripts = [[*start.ids, *other.encode_continuation(start, answer), other.vocabulary.end_of_text[0]]]
    llm = EnsembleLLM([unsure(main), *others], fusion="surface")
    assert llm.chat(messages, max_new_tokens=40).text.startswith(answer)


def test_a_member_that_abstains_from_all_leaves_entropy_weights_to_the_others() -> None:
    """WordPiece has no token that begins with this character and no space; the others are still heard."""
    letter, kinds = "🚀", ("sentencepiece_unigram", "wordpiece")
    for kind in kinds:
        sure(kind).say(STARTS[0], letter)
    llm = EnsembleLLM([unsure("bytes"), *map(sure, kinds)], weights="entropy", fusion="surface")
    bare = EnsembleLLM([unsure("bytes"), sure(kinds[0])], weights="entropy", fusion="surface")
    inside, alone = (one.score(STARTS[0], letter).tokens[1:] for one in (llm, bare))
    assert [token.logprob for token in inside] == pytest.approx([token.logprob for token in alone], abs=1e-3)
    assert all(token.greedy for token in inside)
