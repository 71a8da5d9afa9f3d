"""Functions as tools: every hint that pydantic knows, wherever the docstring says what, however they are called."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import Doc

from deepen_llm.tools import Tool

NOTHING = object()


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Size(BaseModel):
    width: int
    inner: "Size | None" = None


@dataclass
class Point:
    x: float


async def paint(
    color: Color,
    size: Size,
    /,
    when: date | None = None,
    *more: int,
    price: Annotated[Decimal, Field(ge=0, description="In euros.")],
    where: Annotated[Point, "Its place."],
    coats: int = Field(2, ge=1),
    mark: Any = NOTHING,
    kind: Annotated[str, Doc("Its kind.")] = "oil",
    **rest: str,
) -> str:
    """Paint it,
    and well.

    At once.

    Args:
        color (Color): The color: red,
            or blue.
        size: How large.
        price: Not heard.
        kind: Not heard either.

    Returns:
        coats: No parameter of this name is meant here.
    """
    return ""


class Painter:
    """Paints."""

    def paint(self, json: str, schema: Literal["a", "b"] = "a") -> None:
        """Paint.

        :param json: What
            it is.
        :param str schema: Which.
        :returns: Nothing.
        """

    @classmethod
    def clean(cls, _brush: int) -> None:
        pass

    @staticmethod
    def wait(minutes: "int" = 3) -> None:
        """Wait.

        Arguments:
            minutes: How long.
        """

    def __call__(self, drink: str) -> None:
        """Drink.

        Args:
            drink: The drink (choices: ["tea", "coffee"])
        """


def test_hints_of_all_kinds_and_where_their_descriptions_come_from() -> None:
    tool = Tool.of(paint)
    assert (tool.name, tool.description) == ("paint", "Paint it,\nand well.\n\nAt once.")
    told = tool.parameters["properties"]
    assert list(told) == ["color", "size", "when", "price", "where", "coats", "mark", "kind"]
    assert tool.parameters["required"] == ["color", "size", "price", "where"]
    descriptions = {name: one["description"] for name, one in told.items() if "description" in one}
    assert descriptions == {
        "color": "The color: red, or blue.",
        "size": "How large.",
        "price": "In euros.",
        "where": "Its place.",
        "kind": "Its kind.",
    }
    assert {name: one["default"] for name, one in told.items() if "default" in one} == {
        "when": None,
        "coats": 2,
        "kind": "oil",
    }
    assert (told["coats"]["minimum"], tool.arguments["additionalProperties"]) == (1, False)
    assert tool.parameters["$defs"]["Color"]["enum"] == ["red", "blue"]
    json.dumps(tool.definition())


@pytest.mark.parametrize(
    ("function", "name", "description", "properties"),
    [
        (Painter().paint, "paint", "Paint.", {"json": "What it is.", "schema": "Which."}),
        (Painter.paint, "paint", "Paint.", {"json": "What it is.", "schema": "Which."}),
        (Painter.clean, "clean", "", {"_brush": None}),
        (Painter.wait, "wait", "Wait.", {"minutes": "How long."}),
        (Painter(), "Painter", "Drink.", {"drink": "The drink"}),
        (functools.partial(Painter().paint, schema="b"), "paint", "Paint.", {"json": "What it is."}),
        (functools.partial(functools.partial(Painter().paint, "x")), "paint", "Paint.", {"schema": "Which."}),
        (functools.lru_cache(Painter.wait), "wait", "Wait.", {"minutes": "How long."}),
        (lambda: None, "<lambda>", "", {}),
    ],
)
def test_whatever_can_be_called(
    function: Callable[..., Any], name: str, description: str, properties: dict[str, str]
) -> None:
    tool = Tool.of(function)
    assert (tool.name, tool.description) == (name, description)
    assert {key: one.get("description") for key, one in tool.parameters["properties"].items()} == properties


def test_a_docstring_may_end_a_parameter_with_its_choices() -> None:
    assert Tool.of(Painter()).parameters["properties"]["drink"]["enum"] == ["tea", "coffee"]


def test_formats_are_told_by_name_and_held_by_their_patterns() -> None:
    tool = Tool.of(paint)
    assert tool.parameters["properties"]["when"]["anyOf"][0] == {"format": "date", "type": "string"}
    assert tool.arguments["properties"]["when"]["anyOf"][0]["pattern"]
