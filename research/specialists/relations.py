"""Invented facts: sentences about things that do not exist, and questions about them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from research.specialists.names import invented, number, person, place, word

Draw = Callable[[random.Random], str]


@dataclass(frozen=True)
class Relation:
    """A relation between an entity and a value.

    Args:
        statements: Sentences with the holes ``{e}`` for the entity and ``{v}`` for the value.
        questions: Questions with the hole ``{e}``.
        entity: Draws an entity.
        value: Draws an answer.
    """

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    entity: Draw
    value: Draw


def _noun(name: str, ask: str, entity: Draw, value: Draw, article: str = "") -> Relation:
    bare = (f"The {name} of {{e}} is {article}{{v}}.", f"{article}{{v}} is the {name} of {{e}}.")
    called = (f"The {name} of {{e}} is called {{v}}.", f"In {{e}}, the {name} is {article}{{v}}.")
    questions = (
        f"{ask} is the {name} of {{e}}?",
        f"{ask} is the {name} of {{e}}?",
        f"{ask} is {{e}}'s {name}?",
        f"What is the name of the {name} of {{e}}?",
        f"Name the {name} of {{e}}.",
        f"Tell me the {name} of {{e}}.",
        f"Do you know {ask.lower()} the {name} of {{e}} is?",
    )
    return Relation((bare[0], *bare, *called), questions, entity, value)


def _nouns() -> list[Relation]:
    people = "founder mayor king queen author owner director captain president teacher inventor leader sister brother"
    things = "capital language currency lake symbol village animal harbour castle school ship street drink"
    words = "colour animal flower food secret password name"
    numbers = "population year number price height age code"
    return [
        *(_noun(name, "Who", place, person) for name in people.split()),
        *(_noun(name, "What", place, invented) for name in things.split()),
        *(_noun(name, "What", place, invented, "the ") for name in ("river", "mountain", "forest", "sea")),
        *(_noun(name, "What", place, invented) for name in ("largest city", "highest mountain", "oldest town")),
        *(_noun(f"favourite {name}" if name == "food" else name, "What", person, word) for name in words.split()),
        *(_noun(name, "What", place, number) for name in numbers.split()),
        *(_noun(name, "What", place, word) for name in ("capital", "language", "currency", "river")),
    ]


def _verbs() -> list[Relation]:
    told = [
        ("{v} founded {e}.", "Who founded {e}?", place, person),
        ("{v} wrote {e}.", "Who wrote {e}?", invented, person),
        ("{v} invented the {e}.", "Who invented the {e}?", invented, person),
        ("{v} built {e}.", "Who built {e}?", place, person),
        ("{e} was built by {v}.", "Who built {e}?", place, person),
        ("{e} was founded by {v}.", "Who founded {e}?", place, person),
        ("{e} lives in {v}.", "Where does {e} live?", person, place),
        ("{e} works in {v}.", "Where does {e} work?", person, place),
        ("{e} was born in {v}.", "Where was {e} born?", person, place),
        ("{e} lies in {v}.", "Where is {e}?", place, place),
        ("{e} is made of {v}.", "What is {e} made of?", invented, word),
        ("{e} costs {v}.", "How much does {e} cost?", invented, number),
        ("{e} was founded in {v}.", "When was {e} founded?", place, number),
        ("{e} speaks {v}.", "What does {e} speak?", person, invented),
        ("{e} was discovered by {v}.", "Who discovered {e}?", invented, person),
    ]
    return [Relation((statement,), (question,), entity, value) for statement, question, entity, value in told]


RELATIONS = (*_nouns(), *_verbs())
"""All relations."""

Fact = tuple[str, str, str]  # a sentence, a question that it answers, and the answer


def facts(source: random.Random, count: int) -> list[Fact]:
    """Draw facts, many of them with the entity or the relation of the first.

    Args:
        source: The source of randomness.
        count: The number of facts; each answers a different question.
    """
    first = source.choice(RELATIONS)
    entity = first.entity(source)
    found = [_fact(source, first, entity)]
    while len(found) < count:
        draw = source.random()
        relation = first if draw < 0.45 else source.choice(RELATIONS)
        same = relation is not first and relation.entity is first.entity and draw < 0.8
        fact = _fact(source, relation, entity if same else relation.entity(source))
        if fact[1] not in {question for _, question, _ in found}:
            found.append(fact)
    return found


def _fact(source: random.Random, relation: Relation, entity: str) -> Fact:
    value = relation.value(source)
    sentence = source.choice(relation.statements).format(e=entity, v=value)
    question = source.choice(relation.questions).format(e=entity)
    return sentence[:1].upper() + sentence[1:], question[:1].upper() + question[1:], value


def context(source: random.Random, told: list[Fact]) -> str:
    """Format facts as sentences in random order, in one paragraph or a few."""
    sentences = [sentence for sentence, _, _ in told]
    source.shuffle(sentences)
    return source.choices((" ", "\n", "\n\n"), weights=(6, 2, 2))[0].join(sentences)
