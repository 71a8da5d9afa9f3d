"""Generated word problems in arithmetic."""

from __future__ import annotations

import random
from collections.abc import Iterator

_NAMES = ("Ada", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jonas", "Karen", "Leo", "Maria")
_THINGS = ("apples", "books", "cards", "coins", "eggs", "flowers", "marbles", "pencils", "shells", "stamps", "tickets")
_GAINS = ("finds", "buys", "is given", "collects", "wins")
_LOSSES = ("loses", "sells", "gives away", "breaks", "lends")
_RATES = ("Each one costs ${0}.", "The price of one is ${0}.", "They are worth ${0} apiece.")


def problems(count: int, seed: int = 7) -> Iterator[str]:
    """Generate problems with step-by-step answers.

    Args:
        count: The number of problems.
        seed: Equal seeds give equal problems.
    """
    source = random.Random(f"problems/{seed}")  # noqa: S311
    for _ in range(count):
        yield _problem(source)


def _problem(source: random.Random) -> str:
    name, things, has = source.choice(_NAMES), source.choice(_THINGS), source.randint(40, 99)
    told, steps = [f"{name} has {has} {things}."], list[str]()
    for _ in range(source.randint(1, 3)):
        many = source.randint(2, 11)
        gains = source.random() < 0.5
        told.append(f"{name} {source.choice(_GAINS if gains else _LOSSES)} {many} of them.")
        steps.append(f"{has} {'+' if gains else '-'} {many} = {has + many if gains else has - many}.")
        has += many if gains else -many
    asked = f"How many {things} does {name} have now?"
    if source.random() < 0.4:
        price = source.randint(2, 9)
        told.append(source.choice(_RATES).format(price))
        steps.append(f"{has} * {price} = {has * price}.")
        asked, has = f"How much are the {things} worth?", has * price
    return f"Question: {' '.join(told)} {asked}\nAnswer: {' '.join(steps)} The answer is {has}."
