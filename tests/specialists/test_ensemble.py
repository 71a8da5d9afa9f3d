"""Law 9: an ensemble of the bundled specialists answers more held-out questions than its best member."""

from functools import cache

import pytest

from deepen_llm import Bayes, Deepen, EnsembleLLM, FusionMethod, specialists
from deepen_llm.members.base import Member
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_member

QUESTIONS = specialists.questions("test")
CONVERSATIONS = [[{"role": "user", "content": question.question}] for question in QUESTIONS]


@cache
def members() -> list[Member]:
    return [load_member(MemberConfig(path=str(path))) for path in specialists.paths()]


def right(llm: EnsembleLLM) -> float:
    """Share of the test questions answered rightly."""
    outputs = llm.chat(CONVERSATIONS, max_new_tokens=8)
    answers = zip(outputs, QUESTIONS, strict=True)
    return sum(output.text.strip() == question.answer for output, question in answers) / len(QUESTIONS)


@cache
def best_member() -> float:
    return max(right(EnsembleLLM([member], batch_size=60)) for member in members())


@pytest.mark.parametrize(("main_model", "fusion"), [(0, Bayes()), (1, Deepen(relr=0.3)), (2, Bayes())])
def test_law_9_the_ensemble_beats_its_best_member_by_ten_points(main_model: int, fusion: FusionMethod) -> None:
    llm = EnsembleLLM(members(), main_model=main_model, fusion=fusion, batch_size=60)
    assert right(llm) >= best_member() + 0.10


def test_a_trace_tells_who_moved_the_token() -> None:
    llm = EnsembleLLM(members(), main_model=0, fusion="bayes")
    question = [{"role": "user", "content": "What is the opposite of hot?"}]
    alone = EnsembleLLM([members()[0]]).chat(question)
    out = llm.chat(question, trace=True, logprobs=2)
    assert out.text == " Cold" != alone.text
    assert out.trace is not None
    assert out.logprobs is not None
    first, last = out.trace[0], out.trace[-1]
    assert first.changed
    assert first.main_choice.text != " Cold" == first.chosen.text == first.fused[0].text
    assert "webster holds it at" in first.reason
    assert [view.name for view in first.members] == ["atlas", "curie", "webster"]
    assert first.members[2].top[0].text == " Cold"
    assert sum(view.weight for view in first.members) == pytest.approx(1)
    assert last.chosen.text == "<end>"
    assert out.finish_reason == "eos"
    assert out.logprobs[0].logprob == pytest.approx(first.chosen.logprob)
    assert out.logprobs[0].top[0].token == out.tokens[0]
    assert len(out.trace) == len(out.logprobs) == len(out.tokens)
