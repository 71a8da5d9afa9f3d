"""What a fault leaves behind: nothing, whichever member and whichever call it is in (law 13)."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from deepen_llm import EnsembleLLM
from deepen_llm.engine.engine import Engine
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.errors import ConfigError, LogitsError
from deepen_llm.fusion import METHODS, AggregationWeights
from deepen_llm.fusion.base import Fusible, Fusion, FusionMethod
from deepen_llm.fusion.weights.base import Likelihood
from deepen_llm.members.base import Context
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import Prompt
from deepen_llm.requests.build import Requests
from tests.laws.test_decoding import PROMPTS
from tests.models import small

KINDS = (("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe"))
SAMPLED: dict[str, Any] = {"max_new_tokens": 4, "temperature": 1.0, "seed": 1, "n": 2}


class Failing(LocalMember):
    """A member that raises in one kind of call, and knows how many contexts of it are open.

    Attributes:
        fails_in: The call that raises: ``open`` or a method of its contexts; "" for none.
        after: How many of these calls succeed before one raises.
        alive: Its contexts that are neither closed nor joined to another.
    """

    fails_in = ""
    after = 0

    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        self.call("open")
        context = super().open(prompts, back=back)
        self.alive.add(id(context))
        for name, released in (("read", None), ("append", None), ("select", None), ("join", 0), ("close", context)):
            setattr(context, name, self._counted(name, getattr(context, name), released))
        self.kept.append(context)  # so that no other has its id
        return context

    def call(self, name: str) -> None:
        """Raise where this is the call to fail in."""
        if name == self.fails_in:
            self.after -= 1
            if self.after < 0:
                raise RuntimeError(f"a fault in {name}")

    def reset(self) -> None:
        """Let no call fail."""
        self.fails_in, self.after, self.alive, self.kept = "", 0, set[int](), list[Context]()

    def _counted(self, name: str, call: Callable[..., Any], released: Any) -> Callable[..., Any]:
        def counted(*given: Any, **options: Any) -> Any:
            if name == "close":
                self.alive.discard(id(released))
            if name != "select" or given != ([],):  # `close` of a local context
                self.call(name)
            found = call(*given, **options)
            if name == "join":
                self.alive.discard(id(given[0]))
            return found

        return counted


@cache
def failing() -> list[Failing]:
    members = [Failing(*small(*kind, seed=seed), name=f"member {seed}") for seed, kind in enumerate(KINDS)]
    for member in members:
        member.reset()
    return members


@pytest.mark.parametrize("call", ["open", "read", "append", "select", "join", "close"])
@pytest.mark.parametrize("member", range(2))
@pytest.mark.parametrize("after", range(3))
def test_a_fault_in_any_call_of_any_member_leaves_no_context_open(call: str, member: int, after: int) -> None:
    llm = EnsembleLLM(failing(), batch_size=3)
    for one in failing():
        one.reset()
    wanted = [output.samples for output in llm.generate(PROMPTS, **SAMPLED)]
    assert not any(one.alive for one in failing())
    failing()[member].fails_in, failing()[member].after = call, after
    try:
        llm.generate(PROMPTS, **SAMPLED)
    except RuntimeError as error:
        assert str(error) == f"a fault in {call}"  # noqa: PT017 - late calls may not come
    assert not any(one.alive for one in failing())
    for one in failing():
        one.reset()
    assert [output.samples for output in llm.generate(PROMPTS, **SAMPLED)] == wanted


@pytest.mark.parametrize("member", range(2))
def test_an_abort_that_fails_drops_all_requests(member: int) -> None:
    for one in failing():
        one.reset()
    llm = EnsembleLLM(failing())
    requests = Requests(SharedEngine(llm.ensemble, batch_size=16), llm.settings)
    engine, (first, second) = Engine(llm.ensemble, 16), requests.for_prompts(PROMPTS[:2], {}).requests
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    engine.add(first)
    engine.add(second)
    engine.step()
    failing()[member].fails_in = "select"
    engine.abort(first)
    assert str(second.failure) == "a fault in select"
    failing()[member].fails_in = ""
    assert not engine.has_unfinished
    assert engine.step() == []
    assert not any(one.alive for one in failing())


class Returning(FusionMethod):
    """The main model's logits, but for those that a test sets."""

    title: ClassVar[str] = "returns what it is given"
    reference: ClassVar[str] = "none"
    method: Literal["returning"] = "returning"
    value: Literal["nan", "inf", "-inf"]
    on: Literal["all", "one", "all but the end"]

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        return _Returning(self, members, main)


class _Returning(Fusion):
    def __init__(self, method: Returning, members: Sequence[Fusible], main: int) -> None:
        super().__init__(members, main)
        size, end = members[main].vocabulary.size, members[main].vocabulary.end_of_text[0]
        chosen = {"all": range(size), "one": {size - 1}, "all but the end": set(range(size)) - {end}}[method.on]
        self._value, self._chosen = float(method.value), torch.tensor([id_ in chosen for id_ in range(size)])

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return logits[self.main].masked_fill(self._chosen, self._value)


@pytest.mark.parametrize(
    ("options", "eos_policy"), [({}, "fused"), ({}, "main"), ({"temperature": 1.0, "seed": 2}, "main")], ids=str
)
@pytest.mark.parametrize(("value", "on"), [("nan", "one"), ("inf", "one"), ("-inf", "all")])
def test_fused_logits_that_are_no_distribution_choose_no_token(
    value: Any, on: Any, options: dict[str, Any], eos_policy: str
) -> None:
    llm = EnsembleLLM(failing(), fusion=Returning(value=value, on=on), eos_policy=eos_policy)
    with pytest.raises(LogitsError, match="no distribution"):
        llm.generate(PROMPTS[0], max_new_tokens=2, **options)
    with pytest.raises(LogitsError, match="no distribution"):
        llm.score(PROMPTS[0], " jumps over")


def test_where_the_end_is_all_that_is_likely_the_main_model_goes_on_under_its_policy() -> None:
    """The main model ends no text here; the fused probability of all else is 0."""
    certain = Returning(value="-inf", on="all but the end")
    assert EnsembleLLM(failing(), fusion=certain).generate(PROMPTS[0]).samples[0].finish_reason == "eos"
    alone = EnsembleLLM(failing()[:1]).generate(PROMPTS[0], max_new_tokens=4, logprobs=0).samples[0]
    assert failing()[0].vocabulary.end_of_text[0] not in alone.tokens
    found = EnsembleLLM(failing(), fusion=certain, eos_policy="main").generate(PROMPTS[0], max_new_tokens=4, logprobs=0)
    assert found.samples[0].tokens == alone.tokens
    assert all(token.logprob > -20 for token in found.samples[0].logprobs or ())


class Given(AggregationWeights):
    """Weights that are no shares."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def per_prompt(self, likelihoods: Sequence[Sequence[Likelihood]]) -> Tensor:
        return torch.tensor(self.values).expand(len(likelihoods), -1)


@pytest.mark.parametrize("fusion", METHODS)
@pytest.mark.parametrize("values", [(torch.nan, 0.5), (-0.5, 1.5), (0.0, 0.0), (1.0, 1.0)], ids=str)
def test_weights_that_are_no_shares_fuse_nothing(values: tuple[float, ...], fusion: str) -> None:
    llm = EnsembleLLM(failing(), fusion=fusion, weights=Given(*values))
    with pytest.raises(ConfigError, match="sum to 1"):
        llm.generate(PROMPTS[0], max_new_tokens=1)
    with pytest.raises(ConfigError, match="sum to 1"):
        llm.score(PROMPTS[0], " jumps")
