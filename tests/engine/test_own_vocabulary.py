"""Fusion methods that choose tokens from another vocabulary than the main model's."""

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from deepen_llm import EnsembleLLM
from deepen_llm.errors import ConfigError
from deepen_llm.fusion.base import Fusible, Fusion, FusionMethod
from deepen_llm.fusion.gate import Gate
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import vocabulary_of
from deepen_llm.vocabulary import Vocabulary
from tests.laws.test_decoding import PROMPTS
from tests.models import small

EMOJI = "Emoji: 😀 "


@cache
def members() -> list[LocalMember]:
    kinds = (("gpt_neox", "sentencepiece_bpe"), ("llama", "byte_level_bpe"))
    return [LocalMember(*small(*kind, seed=seed), name=f"member {seed}") for seed, kind in enumerate(kinds)]


class Relayed(FusionMethod):
    """The second member's tokens and its logits, whichever is the main model."""

    title: ClassVar[str] = "another member's logits"
    reference: ClassVar[str] = "none"
    method: Literal["relayed"] = "relayed"

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        return _Relayed(members, main)


class _Relayed(Fusion):
    def __init__(self, members: Sequence[Fusible], main: int) -> None:
        super().__init__(members, main)
        self._other = members[1].vocabulary

    @property
    def vocabulary(self) -> Vocabulary:
        return self._other

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return logits[1]


class Characters(FusionMethod):
    """The main model's probabilities of what a token begins with, over whole characters: a vocabulary of no member."""

    title: ClassVar[str] = "characters"
    reference: ClassVar[str] = "none"
    method: Literal["characters"] = "characters"
    bytes_too: bool = False

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        return _Characters(members, main, bytes_too=self.bytes_too)


class _Characters(Fusion):
    def __init__(self, members: Sequence[Fusible], main: int, *, bytes_too: bool) -> None:
        super().__init__(members, main)
        surfaces, ends = members[main].vocabulary.surfaces, members[main].vocabulary.end_of_text
        begun = [(surface or b"").decode(errors="ignore")[:1].encode() for surface in surfaces]
        known = sorted({one for one in begun if one} | ({b"\xf0"} if bytes_too else set()))
        self._own = vocabulary_of([*known, None], [len(known)])
        ids = {**{one: id_ for id_, one in enumerate(known)}, b"": len(known) + 1}
        self._to = torch.tensor([len(known) if i in ends else ids[one] for i, one in enumerate(begun)])

    @property
    def vocabulary(self) -> Vocabulary:
        return self._own

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        p = logits[self.main].softmax(-1)
        mapped = p.new_zeros(len(p), self._own.size + 1).index_add(1, self._to, p)
        return mapped[:, :-1].log()


def relayed(main_model: int = 0, **given: Any) -> EnsembleLLM:
    return EnsembleLLM(members(), fusion=Relayed(), main_model=main_model, **given)


def second() -> EnsembleLLM:
    return EnsembleLLM(members()[1:])


OPTIONS: list[dict[str, Any]] = [
    {"max_new_tokens": 8},
    {"max_new_tokens": 8, "temperature": 1.0, "seed": 3, "n": 2, "logprobs": 2},
    {"max_new_tokens": 8, "temperature": 1.5, "seed": 4, "repetition_penalty": 1.5, "stop": ["e"], "trace": True},
    {"max_new_tokens": 20, "temperature": 1.0, "seed": 5, "response_format": list[int]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
@pytest.mark.parametrize("weights", [None, (1.0, 1e-6), "entropy"], ids=str)
def test_another_members_distribution_is_answered_as_that_member_answers(options: dict[str, Any], weights: Any) -> None:
    prompts = [*PROMPTS, EMOJI]
    found = relayed(weights=weights).generate(prompts, **options)
    for output, alone in zip(found, second().generate(prompts, **options), strict=True):
        for one, other in zip(output.samples, alone.samples, strict=True):
            assert (one.tokens, one.text, one.finish_reason) == (other.tokens, other.text, other.finish_reason)
            logprobs = [token.logprob for token in one.logprobs or ()]
            assert logprobs == pytest.approx([token.logprob for token in other.logprobs or ()], abs=1e-3)


def test_chats_and_streams_are_answered_as_that_member_answers() -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    found, alone = (llm.chat(messages, max_new_tokens=8).samples[0] for llm in (relayed(), second()))
    assert (found.tokens, found.text, found.finish_reason) == (alone.tokens, alone.text, alone.finish_reason)
    stream = relayed().stream(PROMPTS[0], max_new_tokens=8)
    assert "".join(stream) == second().generate(PROMPTS[0], max_new_tokens=8).text


@pytest.mark.parametrize("text", [" jumps over", " 😀 naïve 你好"])
def test_scores_are_those_of_that_member(text: str) -> None:
    found, alone = (llm.score(PROMPTS[0], text) for llm in (relayed(), second()))
    assert [token.token for token in found.tokens] == [token.token for token in alone.tokens]
    assert found.total == pytest.approx(alone.total, abs=1e-3)


class Reversed(FusionMethod):
    """The main model's tokens and logits in reverse order."""

    title: ClassVar[str] = "the same tokens under other ids"
    reference: ClassVar[str] = "none"
    method: Literal["reversed"] = "reversed"

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        return _Reversed(members, main)


class _Reversed(Fusion):
    def __init__(self, members: Sequence[Fusible], main: int) -> None:
        super().__init__(members, main)
        surfaces = members[main].vocabulary.surfaces
        whole = [surface if surface and surface.isascii() else None for surface in surfaces[::-1]]
        self._own = vocabulary_of(whole, [len(surfaces) - 1 - end for end in members[main].vocabulary.end_of_text])

    @property
    def vocabulary(self) -> Vocabulary:
        return self._own

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        unknown = torch.tensor([surface is None for surface in self._own.surfaces])
        return logits[self.main].flip(-1).masked_fill(unknown, -torch.inf)


def test_a_trace_compares_tokens_by_what_they_spell() -> None:
    """Those of the main model are its own choices, whatever their ids."""
    trace = (
        EnsembleLLM(members(), fusion=Reversed()).generate(PROMPTS[0], max_new_tokens=8, trace=True).samples[0].trace
    )
    assert trace is not None
    own = [token.chosen.text == token.main_choice.text for token in trace]
    assert any(own)
    assert [not token.changed for token in trace] == own
    assert ["own choice" in token.reason for token in trace] == own


def test_under_the_main_models_policy_the_text_ends_where_its_end_is_likeliest() -> None:
    end = members()[0].vocabulary.end_of_text[0]

    def ends(_: object, __: object, out: Any) -> Any:
        out.logits[..., end] = 1e4
        return out

    llm = relayed(eos_policy="main")
    free = llm.generate(PROMPTS[0], max_new_tokens=6).samples[0]
    assert free.finish_reason == "length"
    assert free.tokens == second().generate(PROMPTS[0], max_new_tokens=6).samples[0].tokens
    hook = members()[0].model.register_forward_hook(ends)
    try:
        ended = llm.generate(PROMPTS[0], max_new_tokens=6).samples[0]
    finally:
        hook.remove()
    assert (ended.tokens, ended.finish_reason) == (members()[1].vocabulary.end_of_text[:1], "eos")


@pytest.mark.parametrize("main_model", range(2))
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_tokens_of_no_member_are_read_by_all(options: dict[str, Any], main_model: int) -> None:
    llm = EnsembleLLM(members(), fusion=Characters(), main_model=main_model)
    for sample in llm.generate(PROMPTS[0], **options).samples:
        surfaces = [llm.ensemble.vocabulary.surfaces[token] or b"" for token in sample.tokens]
        assert b"".join(surfaces).decode().startswith(sample.text)
    greedy = llm.generate(PROMPTS[0], max_new_tokens=6, logprobs=0).samples[0]
    score = llm.score(PROMPTS[0], greedy.text)
    assert score.is_greedy
    assert score.total == pytest.approx(sum(token.logprob for token in greedy.logprobs or ()), abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draft_tokens": 2}, "draft_tokens=2 with a fusion method that has a vocabulary of its own"),
        ({"gate": "unsure"}, "gate='unsure' with a fusion method"),
        ({"gate": Gate(when="safe")}, "gate='safe' with a fusion method"),
        ({"fusion": Characters(bytes_too=True)}, "inside a character, which no member has read"),
    ],
    ids=str,
)
def test_what_such_a_vocabulary_cannot_have_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnsembleLLM(members(), **{"fusion": Relayed(), **settings})
