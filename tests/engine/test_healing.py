"""Token healing, end to end: after a prompt that ends inside a word, every kind of member completes that word."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from deepen_llm import EnsembleLLM, FusionMethod, Surface, specialists
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.fusing import fuse, to_reread
from deepen_llm.engine.tokens import Boundary, Token
from deepen_llm.members.local.member import LocalMember
from deepen_llm.requests.prompts import encode_text
from tests.company import answered_alike, model_of
from tests.fusion.registered import FUSIONS
from tests.laws.test_surfaces import KINDS, SENTENCES, STARTS, _is_written, sure, unsure, words
from tests.models import small
from tests.structure.documents import Place
from tests.sure import SureMember
from tests.tokenizers import REAL, SMALL

CUT = ["The quick bro", "She sells sea shells by the ", "Die Antwort auf die gro", "1, 2, 3, 4", "Съешь же ещё этих мя"]
WHOLE = [kind for kind in KINDS if kind != "bytes"]  # of single bytes no prompt ends inside one
HEALED: dict[str, Any] = {"token_healing": True}


def foreseen(one: SureMember) -> list[tuple[str, str]]:
    """Prompts, and words that a member has a token of and reaches."""
    drops_spaces = one.name.endswith("wordpiece")
    starts = [start.rstrip() if drops_spaces else start for start in STARTS]
    return [(start, word) for start in starts for word in words(one, one, start, most=4 if drops_spaces else 2)]


@pytest.mark.parametrize("kind", WHOLE)
def test_one_member_goes_on_with_the_word_that_the_prompt_cuts(kind: str) -> None:
    one, cut, lost = sure(kind), 0, 0
    llm = EnsembleLLM([one])
    for prompt, word in foreseen(one):
        one.say(prompt, word)
        for begun in range(1, len(word)):
            if not _is_written(one, word[begun:]):  # WordPiece has signs only behind a space
                continue
            out = llm.generate(prompt + word[:begun], max_new_tokens=20, **HEALED)
            assert (out.text, out.finish_reason) == (word[begun:], "eos")
            lost += llm.generate(prompt + word[:begun], max_new_tokens=20).text != word[begun:]
            cut += 1
    assert cut >= 12
    assert lost > cut / 2


@pytest.mark.parametrize("kind", REAL)
def test_one_with_a_real_vocabulary_does(kind: str) -> None:
    one, prompt = SureMember(REAL[kind], kind), "The capital of Kenya is"
    llm = EnsembleLLM([one])
    for answer in (" 🚀 off", " Nairobi"):
        one.say(prompt, answer)
        for begun in range(1, len(answer), 2):
            out = llm.generate(prompt + answer[:begun], max_new_tokens=20, **HEALED)
            if kind.startswith("mistral") and answer[:begun] in {" Na", " Nairob"}:
                assert out.text != answer[begun:]  # it writes " N", "air", "obi", and has read nothing behind " N"
            else:
                assert out.text == answer[begun:]


@pytest.mark.parametrize("kind", WHOLE)
def test_a_prompt_that_ends_in_a_space_goes_on_with_a_word_that_has_it(kind: str) -> None:
    one, count = sure(kind), 0
    llm = EnsembleLLM([one])
    for prompt, word in foreseen(one):
        if word.startswith(" ") and _is_written(one, word[1:]):
            one.say(prompt, word)
            assert llm.generate(f"{prompt} ", max_new_tokens=20, **HEALED).text == word[1:]
            count += 1
    assert count


MEMBERS = [("sentencepiece_bpe", "byte_level_bpe"), ("byte_level_bpe", "unigram_byte_fallback")]


@pytest.mark.parametrize(
    ("pair", "fusion"), [(MEMBERS[i % 2], fusion) for i, fusion in enumerate([*FUSIONS, Surface(straddle=0)])], ids=str
)
def test_every_member_of_an_ensemble_is_healed(pair: tuple[str, str], fusion: FusionMethod) -> None:
    main, other = sure(pair[0]), sure(pair[1])
    llm, count = EnsembleLLM([main, other], fusion=fusion), 0
    for prompt, word in foreseen(main):
        main.say(prompt, word)
        other.say(prompt, word)
        begun = len(word) // 2
        if begun:
            assert llm.generate(prompt + word[:begun], max_new_tokens=20, **HEALED).text == word[begun:]
            count += 1
    assert count >= 4


@pytest.mark.parametrize("pair", [("byte_level_bpe", "sentencepiece_bpe"), ("wordpiece", "byte_level_bpe")])
def test_by_surfaces_others_are_healed_without_it(pair: tuple[str, str]) -> None:
    main, other = unsure(pair[0]), sure(pair[1])
    llm, count = EnsembleLLM([main, other], weights=[0.4, 0.6], fusion="surface"), 0
    for word in words(other, main, STARTS[0], most=5):
        other.say(STARTS[0], word)
        begun = len(word) // 2 if _is_written(main, word[len(word) // 2 :]) else 0
        for options in ({}, HEALED):
            out = llm.generate(STARTS[0] + word[:begun], max_new_tokens=len(word.encode()), **options)
            assert out.text.startswith(word[begun:])
        count += 1
    assert count >= 4


@pytest.mark.parametrize("sentence", SENTENCES)
def test_what_follows_the_healed_word_is_read_in_the_member_s_own_encoding(sentence: str) -> None:
    one = sure("byte_level_bpe")
    llm = EnsembleLLM([one])
    ids = one.say(STARTS[0], sentence)
    for begun in range(1, 8, 2):
        out = llm.generate(STARTS[0] + sentence[:begun], max_new_tokens=99, **HEALED)
        assert (out.text, out.finish_reason) == (sentence[begun:], "eos")
        assert out.usage.completion_tokens == len(out.tokens)
        spelled = b"".join(one.vocabulary.surfaces[token] or b"" for token in out.tokens)
        assert spelled.decode() == out.text
    assert len(ids) > len(one.encode_prompt(STARTS[0]).ids) + 8  # it goes on behind the word


@pytest.mark.parametrize(
    ("architecture", "kind"), [*zip(["llama", "longrope", "mamba", "longrope", "mamba", "llama"], KINDS, strict=True)]
)
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_a_trail_of_chosen_tokens_is_what_was_read_before_each(architecture: str, kind: str) -> None:
    one = LocalMember(*model_of(architecture, kind))
    prompt = one.encode_prompt("The quick bro")
    context, ids = one.open([prompt], back=4), list(prompt.ids)
    chosen = torch.Generator().manual_seed(3)
    usable = [id_ for id_, surface in enumerate(one.vocabulary.surfaces) if surface]
    for step in range(9):
        reading = context.read([()])
        (trail,) = reading.trails
        assert list(trail.tokens) == ids[len(ids) - len(trail.tokens) :][::-1]
        assert len(trail.tokens) == min(4, len(ids) - 1) or architecture == "longrope" or step == 0
        for back, logits in enumerate(trail.logits, 1):
            fresh = one.causal.read_afresh(ids[: len(ids) - back])[0, : len(logits)].float()
            fresh[one.vocabulary.tokenizer_size :] = -torch.inf
            torch.testing.assert_close(logits, fresh, atol=2e-4, rtol=1e-4)
        token = usable[int(torch.randint(len(usable), (), generator=chosen))]
        context.append([[token]])
        ids.append(token)


def test_after_it_the_main_model_reads_the_whole_word() -> None:
    one = sure("unigram_byte_fallback")
    prompt, word = STARTS[0], " France"
    ids = one.say(prompt, word)
    llm = EnsembleLLM([one])
    contexts, answered = Contexts(llm.ensemble, [encode_text(llm.ensemble, prompt + word[:2])], healing=True), 0
    cut = list(contexts.ids[0])
    while contexts.ids[0] != ids:
        fused = fuse(contexts, [()], [[Boundary(answer_bytes=answered)]])
        assert fused.healed == {0}
        token = int(fused.logits[0].argmax())
        surface = one.vocabulary.surfaces[token] or b""
        contexts.commit([[Token(token, surface.decode())]])
        contexts.reread(to_reread(contexts, fused, [0], [0], [token]))
        answered += len(surface)
        assert answered <= len(word.encode())
    assert cut != ids[: len(cut)]


def test_without_it_no_prompt_is_read_further_back() -> None:
    llm = EnsembleLLM([small("llama", "byte_level_bpe")])
    contexts = Contexts(llm.ensemble, [encode_text(llm.ensemble, CUT[0])])
    (context,) = contexts.by_member
    assert list(context.read([()]).trails) == []
    assert not llm.settings.generation.token_healing


SETTINGS: list[tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]] = [
    (("llama",), ("byte_level_bpe",), {}),
    (("mamba",), ("sentencepiece_bpe",), {}),
    (("sliding",), ("wordpiece",), {}),
    (("gemma", "llama"), ("sentencepiece_unigram", "byte_level_bpe"), {"fusion": "surface"}),
    (("llama", "longrope"), ("byte_level_bpe", "wordpiece"), {"fusion": "bayes", "weights": "entropy"}),
    (("qwen2", "gpt2", "llama"), ("unigram_byte_fallback", "byte_level_bpe", "unigram_byte_fallback"), {}),
    (("gpt_neox", "mpt"), ("byte_level_bpe", "bytes"), {"fusion": "deepen", "gate": "unsure"}),
    (("llama", "gpt2"), ("sentencepiece_bpe", "wordpiece"), {"gate": "boundary", "eos_policy": "main"}),
]


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_batches_drafts_streams_and_threads_change_nothing(setting: int) -> None:
    """Greedy and sampled in turn: four sequences or more, of which three are decoded at once."""
    architectures, kinds, options = SETTINGS[setting]
    sampled = setting in {1, 3, 4, 6}  # a model without and one with a cache to roll back, and three ways to fuse
    prompts = CUT[:2] if sampled else CUT
    models = [model_of(*one, seed) for seed, one in enumerate(zip(architectures, kinds, strict=True))]
    asked: dict[str, Any] = {"max_new_tokens": 8, "repetition_penalty": 1.1, **HEALED}
    asked |= {"temperature": 0.9, "seed": 5, "n": 2} if sampled else {"stop": ["e th", "zz"]}
    alone, llm = answered_alike(models, prompts, asked, **options), EnsembleLLM(models, batch_size=3, **options)
    assert alone != llm.generate(prompts, **{**asked, "token_healing": False})
    if not sampled:
        assert asyncio.run(llm.agenerate(CUT[2], **asked)) == alone[2]


def test_a_draft_model_and_steps_of_a_fixed_shape_change_nothing() -> None:
    plain = EnsembleLLM([small("llama", "byte_level_bpe")]).generate(CUT, max_new_tokens=10, **HEALED)
    fixed = LocalMember(*small("llama", "byte_level_bpe"))
    fixed.causal.fixed_steps = True
    assert EnsembleLLM([fixed], batch_size=2).generate(CUT, max_new_tokens=10, **HEALED) == plain
    drafting = small("gpt2", "byte_level_bpe", seed=9)
    llm = EnsembleLLM([small("llama", "byte_level_bpe")], draft_tokens=4, draft_model=drafting)
    assert [out.tokens for out in llm.generate(CUT, max_new_tokens=10, **HEALED)] == [out.tokens for out in plain]


@pytest.mark.parametrize("kind", KINDS)
def test_behind_a_chat_template_nothing_is_healed(kind: str) -> None:
    llm = EnsembleLLM([model_of("llama", kind)])
    messages = [{"role": "user", "content": "What is the capi"}]
    assert llm.chat(messages, max_new_tokens=12, **HEALED) == llm.chat(messages, max_new_tokens=12)


@pytest.mark.parametrize(("kind", "prefix"), [(kind, i % 2 == 1) for i, kind in enumerate(WHOLE)])
def test_a_message_that_goes_on_is_healed(kind: str, *, prefix: bool) -> None:
    one, count = sure(kind), 0
    llm = EnsembleLLM([one])
    for _, word in foreseen(one):
        asked = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": f"The fox{word}"}]
        whole = one.encode_chat(asked, continue_final_message=True).ids
        begun = len(f"The fox{word[: len(word) // 2]}")
        if len(word) < 2 or not _is_written(one, f"The fox{word}"[begun:]):
            continue
        one.scripts = [[*whole, one.vocabulary.end_of_text[0]]]
        asked[-1]["content"] = asked[-1]["content"][:begun]
        cut = one.encode_chat(asked, continue_final_message=True).ids
        same = next((n for n, (a, b) in enumerate(zip(whole, cut, strict=False)) if a != b), len(cut))
        if prefix:
            asked[-1] = {**asked[-1], "prefix": True}  # type: ignore[dict-item]
        out = llm.chat(asked, max_new_tokens=20, continue_final_message=not prefix, **HEALED)
        if same >= len(cut) - 4:
            assert out.text == f"The fox{word}"[begun:]
            count += 1
    assert count >= 2


def test_an_answer_with_a_structure_begins_a_text_of_its_own() -> None:
    llm = EnsembleLLM([small("llama", "byte_level_bpe"), small("gpt2", "sentencepiece_bpe", seed=1)])
    for prompt in CUT[:2]:
        asked: dict[str, Any] = {"response_format": Place, "max_new_tokens": 120}
        assert llm.generate(prompt, **asked, **HEALED) == llm.generate(prompt, **asked)

    def look_up(city: str) -> str:
        """Look a city up."""
        return city

    begun = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": CUT[1]}]
    going_on: dict[str, Any] = {"continue_final_message": True, "max_new_tokens": 60}
    free = llm.chat(begun, tools=[look_up], **going_on)
    assert llm.chat(begun, tools=[look_up], **going_on, **HEALED) == free
    assert llm.chat(begun, **going_on, **HEALED) != llm.chat(begun, **going_on)


def test_a_trace_tells_where_a_healed_word_began() -> None:
    one = sure("unigram_byte_fallback")
    one.say(STARTS[0], " France")
    out = EnsembleLLM([one]).generate(f"{STARTS[0]} Fra", max_new_tokens=9, trace=True, logprobs=1, **HEALED)
    assert out.text == "nce"
    assert out.trace is not None
    first, last = out.trace[0], out.trace[-1]
    told = first.members[0].straddling[0]
    assert (told.text, told.rest) == (" France", "nce")
    assert (told.share, told.back) == (pytest.approx(1), 1)
    assert first.reason == "the main model's own choice, as ' France' begun 1 token back"
    assert (last.reason, last.members[0].straddling) == ("the main model's own choice", ())
    assert out.logprobs is not None
    assert out.logprobs[0].logprob == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", specialists.NAMES)
def test_behind_a_whole_word_it_changes_no_greedy_answer_of_a_specialist(name: str) -> None:
    llm = EnsembleLLM.from_pretrained([specialists.path(name)])
    prompts = [f"Question: {one.question}\nAnswer:" for one in specialists.questions("dev")[::6]]
    plain = llm.generate(prompts, max_new_tokens=6)
    assert llm.generate(prompts, max_new_tokens=6, **HEALED) == plain


def test_cut_answers_of_specialists_go_on_as_they_were() -> None:
    llm = EnsembleLLM.from_pretrained([specialists.path("atlas")])
    for name, country in (("Nairobi", "Kenya"), ("Stockholm", "Sweden"), ("Lima", "Peru")):
        prompt = f"Question: What is the capital of {country}?\nAnswer:"
        whole = llm.generate(prompt, max_new_tokens=4).text
        assert whole.startswith(f" {name}")
        for begun in range(len(f" {name}")):
            out = llm.generate(prompt + whole[:begun], max_new_tokens=12, **HEALED)
            assert (whole[:begun] + out.text).startswith(f" {name}")


class _Scripted(SureMember):
    """One that is sure of what follows some texts, whatever else it read."""

    def __init__(self, scripts: dict[str, str]) -> None:
        super().__init__(SMALL["byte_level_bpe"], "scripted")
        self._wanted = {tuple(self.tokens_of(text)): self.tokens_of(wanted)[0] for text, wanted in scripts.items()}

    def tokens_of(self, text: str) -> list[int]:
        """The tokenizer's own tokens of parts that "|" divides."""
        return [id_ for part in text.split("|") for id_ in self.encode_prompt(part).ids]

    def logits_after(self, ids: Sequence[int]) -> torch.Tensor:
        logits = torch.zeros(self.vocabulary.size)
        if tuple(ids) in self._wanted:
            logits[self._wanted[tuple(ids)]] = 40.0
        return logits


@pytest.mark.parametrize("fusion", ["surface", "bayes"])
def test_where_the_main_model_is_sure_of_another_word_nobody_beside_it_matters(fusion: str) -> None:
    cut = {"She and": " t", "She and th": "e", "She and| t|h|e": "!", "She and| t": "h"}
    main, other = _Scripted({**cut, "She and the": "?"}), _Scripted({"She and": " the"})
    llm = EnsembleLLM([main, other], fusion=fusion, gate="unsure", batch_size=2)
    alone = llm.generate("She and th", max_new_tokens=2, **HEALED)
    assert alone.text == "e!"
    assert llm.generate(["She and th", CUT[2]], max_new_tokens=2, **HEALED)[0] == alone
