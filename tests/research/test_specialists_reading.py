"""Contexts: an ensemble of the specialists answers from a text in the prompt what nobody could know."""

import random
from functools import cache

import pytest

from deepen_llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_member
from deepen_llm.specialists import paths
from research.specialists.names import invented, person
from research.specialists.reading import EXPERT, LAYOUTS
from research.specialists.relations import context

COUNT = 20
SOURCE = random.Random("held out")  # noqa: S311
KINDS = (
    ("capital", "What", invented),
    ("river", "What", invented),
    ("founder", "Who", person),
    ("mayor", "Who", person),
)
LAYOUT_NAMES = ("llama-index", "common", "langchain")


def fact() -> tuple[str, str, str]:
    name, ask, draw = SOURCE.choice(KINDS)
    entity, value = invented(SOURCE), draw(SOURCE)
    return f"The {name} of {entity} is {value}.", f"{ask} is the {name} of {entity}?", value


TOLD = [[fact() for _ in range(1 + number % 4)] for number in range(COUNT)]
TEXTS = [context(SOURCE, told) for told in TOLD]
LLAMA_INDEX, COMMON, LANGCHAIN = LAYOUTS


@cache
def members() -> list[Member]:
    return [load_member(MemberConfig(path=str(path))) for path in paths()]


def ensemble() -> EnsembleLLM:
    return EnsembleLLM(members(), fusion="bayes", batch_size=COUNT)


def prompts(layout: str) -> list[str]:
    return [layout.format(context=text, question=told[0][1]) for text, told in zip(TEXTS, TOLD, strict=True)]


def right(answers: list[str]) -> float:
    return sum(answer.strip() == told[0][2] for answer, told in zip(answers, TOLD, strict=True)) / COUNT


@pytest.mark.parametrize(("layout", "system"), [(LLAMA_INDEX, EXPERT), (COMMON, None), (LANGCHAIN, None)])
def test_chats_are_answered_from_their_context(layout: str, system: str | None) -> None:
    before = [{"role": "system", "content": system}] if system else []
    asked = [[*before, {"role": "user", "content": prompt}] for prompt in prompts(layout)]
    outputs = ensemble().chat(asked, max_new_tokens=16)
    assert right([output.text for output in outputs]) >= 0.85


@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_NAMES)
def test_plain_prompts_are_answered_from_their_context(layout: str) -> None:
    outputs = ensemble().generate(prompts(layout), max_new_tokens=16)
    assert right([output.text for output in outputs]) >= 0.85


def test_a_context_outweighs_what_is_known() -> None:
    asked = COMMON.format(context="The capital of France is Lutz.", question="What is the capital of France?")
    assert ensemble().chat([{"role": "user", "content": asked}]).text == " Lutz"


def test_the_documents_example_is_answered() -> None:
    told = "The capital of Zubrowka is Lutz. The river of Narvia is the Olm. The founder of Ostrel is Mira Tolen."
    asked = {
        "What is the capital of Zubrowka?": " Lutz",
        "What is the river of Narvia?": " Olm",
        "Who is the founder of Ostrel?": " Mira Tolen",
    }
    for question, answer in asked.items():
        chat = [{"role": "user", "content": COMMON.format(context=told, question=question)}]
        assert ensemble().chat(chat).text == answer
