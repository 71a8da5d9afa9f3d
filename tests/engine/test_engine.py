"""Requests of the engine: none depends on which others are added or aborted while it runs."""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import pytest
import torch

from deepen_llm.config import EnsembleSettings
from deepen_llm.engine.answer import Answer
from deepen_llm.engine.engine import Engine
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.given import GivenSequence
from deepen_llm.engine.sequence import Request, TokenSequence
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.errors import ConfigError
from deepen_llm.members.local.member import LocalMember
from deepen_llm.outputs import Sample
from deepen_llm.requests.build import Requests
from deepen_llm.requests.prompts import encode_continuation, encode_text
from tests.laws.test_batches import rows_read
from tests.laws.test_decoding import PROMPTS
from tests.models import small

STEPS = 6
GREEDY: dict[str, Any] = {"max_new_tokens": STEPS}
OPTIONS: list[dict[str, Any]] = [
    GREEDY,
    {"max_new_tokens": STEPS, "temperature": 0.9, "top_p": 0.95, "seed": 3, "n": 2},
    {"max_new_tokens": 4, "temperature": 1.2, "top_k": 20, "seed": 8, "repetition_penalty": 1.3, "logprobs": 2},
    {"max_new_tokens": STEPS, "token_healing": True, "stop": ["e"]},
    {"max_new_tokens": 9, "response_format": list[int], "temperature": 1.0, "seed": 1},
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"fusion": "bayes", "draft_tokens": 3},
    {"weights": "track", "gate": "safe", "draft_tokens": 3},
    {"weights": "prompt", "gate": "unsure", "eos_policy": "main"},
]


@cache
def members() -> list[LocalMember]:
    kinds = (("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe"))
    return [LocalMember(*small(*kind, seed=seed)) for seed, kind in enumerate(kinds)]


def ensemble(settings: EnsembleSettings) -> Ensemble:
    return Ensemble(
        members(),
        main=0,
        fusion=settings.fusion.prepare(members(), 0),
        weights=settings.aggregation_weights(2),
        eos_policy=settings.eos_policy,
        draft_tokens=settings.draft_tokens,
        gate=settings.gate,
    )


class Setting:
    """An ensemble, requests to it, and what each of them is answered alone."""

    def __init__(self, **given: Any) -> None:
        self.settings = EnsembleSettings(**given)
        self.ensemble = ensemble(self.settings)
        self._requests = Requests(SharedEngine(self.ensemble, batch_size=16), self.settings)

    def request(self, prompt: str, options: dict[str, Any]) -> Request[Answer]:
        (request,) = self._requests.for_prompts([prompt], options).requests
        assert isinstance(request, Request)
        return request

    def requests(self) -> list[Request[Answer]]:
        return [self.request(prompt, options) for prompt, options in zip(PROMPTS * 2, OPTIONS, strict=False)]

    def given(self, prompt: str, text: str) -> Request[GivenSequence]:
        encoded = encode_text(self.ensemble, prompt)
        ids = encode_continuation(self.ensemble, encoded, text)
        return Request(encoded, [GivenSequence(self.ensemble.main_model.vocabulary, ids)])

    def engine(self) -> Engine:
        return Engine(self.ensemble, batch_size=16)

    def alone(self, request: Request[Any]) -> None:
        engine = self.engine()
        engine.add(request)
        finish(engine)


def finish(engine: Engine) -> None:
    while engine.has_unfinished:
        engine.step()


def samples(requests: Sequence[Request[Answer]]) -> list[list[Sample]]:
    return [[answer.sample() for answer in request.sequences] for request in requests]


def approximately(found: Sequence[Sequence[Sample]], wanted: Sequence[Sequence[Sample]]) -> bool:
    """Equal, log-probabilities up to rounding."""
    for one, other in zip(chain.from_iterable(found), chain.from_iterable(wanted), strict=True):
        assert (one.tokens, one.text, one.finish_reason) == (other.tokens, other.text, other.finish_reason)
        assert [t.logprob for t in one.logprobs or ()] == pytest.approx(
            [t.logprob for t in other.logprobs or ()], abs=1e-3
        )
    return True


@pytest.mark.parametrize("given", SETTINGS, ids=str)
def test_requests_of_different_options_are_answered_together_as_each_alone(given: dict[str, Any]) -> None:
    setting = Setting(**given)
    wanted, together = setting.requests(), setting.requests()
    for request in wanted:
        setting.alone(request)
    engine = setting.engine()
    for request in together:
        engine.add(request)
    assert len(engine.waiting) == len(OPTIONS)
    finish(engine)
    assert approximately(samples(together), samples(wanted))


@pytest.mark.parametrize("given", SETTINGS[:3], ids=str)
def test_a_request_may_be_added_at_any_step(given: dict[str, Any]) -> None:
    setting = Setting(**given)
    wanted = setting.requests()
    for request in wanted:
        setting.alone(request)
    for step in range(STEPS):
        engine, requests = setting.engine(), setting.requests()
        for request in requests[:3]:
            engine.add(request)
        for _ in range(step):
            engine.step()
        for request in requests[3:]:
            engine.add(request)
        finish(engine)
        assert approximately(samples(requests), samples(wanted))


@pytest.mark.parametrize("given", SETTINGS[:3], ids=str)
def test_of_three_requests_one_may_be_aborted_at_any_step(given: dict[str, Any]) -> None:
    setting = Setting(**given)
    wanted = setting.requests()[:3]
    for request in wanted:
        setting.alone(request)
    sequences = sum(len(request.sequences) for request in wanted)
    for step in range(STEPS):
        for aborted in range(3):
            engine, requests = setting.engine(), setting.requests()[:3]
            for request in requests:
                engine.add(request)
            for _ in range(step):
                engine.step()
            engine.abort(requests[aborted])
            assert requests[aborted] not in [*engine.waiting, *engine.running]
            with rows_read(members()[0].model) as rows:
                finish(engine)
            assert max(rows, default=0) <= sequences - len(requests[aborted].sequences)
            others = [i for i in range(3) if i != aborted]
            assert approximately(samples([requests[i] for i in others]), samples([wanted[i] for i in others]))


def test_an_aborted_request_takes_no_more_tokens_and_a_finished_one_is_left() -> None:
    setting = Setting()
    engine, (first, second, *_) = setting.engine(), setting.requests()
    engine.add(first)
    engine.add(second)
    engine.step()
    engine.abort(second)
    taken = [list(answer.tokens) for answer in second.sequences]
    assert all(map(len, taken))
    finish(engine)
    assert [answer.tokens for answer in second.sequences] == taken
    (whole,) = samples([first])
    engine.abort(first)
    assert samples([first]) == [whole]
    assert engine.step() == []


@pytest.mark.parametrize(
    "given", [{}, {"weights": "track", "gate": "safe"}, {"fusion": "bayes", "draft_tokens": 3}], ids=str
)
def test_given_sequences_are_scored_beside_answers(given: dict[str, Any]) -> None:
    setting = Setting(**given)
    wanted, wanted_score = setting.requests(), setting.given(PROMPTS[0], " jumps over 😀 the dog")
    for request in [*wanted, wanted_score]:
        setting.alone(request)
    engine, requests = setting.engine(), setting.requests()
    score = setting.given(PROMPTS[0], " jumps over 😀 the dog")
    for request in requests[:3]:
        engine.add(request)
    engine.step()
    engine.add(score)
    for request in requests[3:]:
        engine.add(request)
    finish(engine)
    assert approximately(samples(requests), samples(wanted))
    (found,), (alone,) = score.sequences, wanted_score.sequences
    assert [token.token for token in found.score().tokens] == [token.token for token in alone.score().tokens]
    assert found.score().total == pytest.approx(alone.score().total, abs=1e-3)


@pytest.mark.parametrize("at", range(3))
def test_a_member_that_fails_drops_the_running_requests_and_leaves_the_engine_usable(at: int) -> None:
    setting = Setting()
    wanted = setting.request(PROMPTS[0], GREEDY)
    setting.alone(wanted)
    engine, requests = setting.engine(), setting.requests()
    for request in requests:
        engine.add(request)
    for _ in range(at):
        engine.step()
    with failing(members()[1]):
        finish(engine)
    assert (*engine.waiting, *engine.running) == ()
    assert all("no distribution" in str(request.failure) for request in requests if request.unfinished)
    again = setting.request(PROMPTS[0], GREEDY)
    engine.add(again)
    with rows_read(members()[0].model) as rows:
        finish(engine)
    assert max(rows) == 1
    assert samples([again]) == samples([wanted])


def failing(member: LocalMember) -> Any:
    """Forwards of a member's model give NaN, while this is entered."""

    def spoil(_: object, __: object, out: Any) -> Any:
        out.logits = torch.full_like(out.logits, torch.nan)
        return out

    return member.model.register_forward_hook(spoil)


@pytest.mark.parametrize("steps", [0, 1, STEPS])
def test_a_request_is_added_once(steps: int) -> None:
    """Waiting, running, aborted or finished, in this engine or another: its sequences cannot begin again."""
    setting = Setting()
    engine, (first, second, *_) = setting.engine(), setting.requests()
    wanted = setting.request(PROMPTS[0], GREEDY)
    setting.alone(wanted)
    for request in (first, second):
        engine.add(request)
    for _ in range(steps):
        engine.step()
    engine.abort(second)
    for request in (first, second):
        with pytest.raises(ConfigError, match="added before"):
            engine.add(request)
        if steps:
            with pytest.raises(ConfigError, match="added before"):
                setting.engine().add(request)
    finish(engine)
    assert samples([first]) == samples([wanted])


def test_a_step_returns_the_sequences_that_took_tokens() -> None:
    setting = Setting()
    engine, short, long = setting.engine(), setting.request(PROMPTS[0], {"max_new_tokens": 1}), setting.requests()[0]
    engine.add(short)
    engine.add(long)
    advanced: list[TokenSequence] = engine.step()
    assert advanced == [*short.sequences, *long.sequences]
    assert [sequence.finished for sequence in advanced] == [True, False]
    assert list(engine.running) == [long]
    assert engine.step() == list(long.sequences)
