"""Tasks of tools: names, descriptions, questions, arguments and results.

Most of this file is a table.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from research.specialists.names import city, invented, number, person, word
from research.specialists.relations import facts

Draw = Callable[[random.Random], str]


@dataclass(frozen=True)
class Task:
    """A task of a tool.

    Args:
        names: Names of such a tool.
        parameters: Names of its parameter.
        descriptions: Descriptions in its definition.
        questions: Questions for it, with the hole ``{x}`` for the argument.
        argument: Draws an argument.
        result: Draws a result.
    """

    names: tuple[str, ...]
    parameters: tuple[str, ...]
    descriptions: tuple[str, ...]
    questions: tuple[str, ...]
    argument: Draw
    result: Draw


def expression(source: random.Random) -> str:
    """An arithmetic expression, mostly of two numbers."""
    text = number(source).lstrip("-")
    for _ in range(source.choices((1, 2), weights=(6, 1))[0]):
        gap = " " if source.random() < 0.85 else ""
        text += f"{gap}{source.choice('++-**/')}{gap}{number(source).lstrip('-')}"
    return f"({text}) * {source.randint(2, 99)}" if source.random() < 0.05 else text


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.strip().split("|"))


_SKIES = _split("sunny|rainy|cloudy|windy|foggy|snowy|stormy|clear|warm|cold|dry|wet|mild|hot|grey")


def _sky(source: random.Random) -> str:
    sky = source.choice(_SKIES)
    degrees = f"{source.randint(-15, 45)} degrees"
    forms = (f"{sky}, {degrees}", f"{sky}, {degrees}", f"{degrees} and {sky}", f"{sky}", f"{sky} with {degrees}")
    return source.choice(forms)


def _price(source: random.Random) -> str:
    return f"{number(source)} {source.choice(('dollars', 'euros', 'pounds', 'yen'))}"


def _hour(source: random.Random) -> str:
    return f"{source.randrange(24)}:{source.randrange(60):02d}"


def anything(source: random.Random) -> str:
    """A result that does not fit the tool."""
    draws = (word, invented, number, person, city, _sky)
    return " ".join(source.choice(draws)(source) for _ in range(source.choices((1, 2, 3, 4), weights=(5, 3, 2, 1))[0]))


def _told(source: random.Random) -> str:
    """A sentence."""
    return facts(source, 1)[0][0] if source.random() < 0.6 else anything(source)


def _words(source: random.Random) -> str:
    return " ".join(source.choice((word, word, invented))(source) for _ in range(source.choice((1, 1, 2, 3))))


ARITHMETIC = Task(
    _split("calculator|calculator|calculate|calc|compute|evaluate|math|do_math|solve|arithmetic"),
    _split("expression|expression|formula|sum|input|text|x|math|query"),
    _split(
        "Evaluate an arithmetic expression.|Evaluate an arithmetic expression.|Compute the value of a formula."
        "|Do arithmetic with numbers.|Calculate the result of an expression.|Work out a sum.|A calculator for numbers."
    ),
    _split(
        "What is {x}?|What is {x}?|How much is {x}?|How much is {x}?|Calculate {x}.|Compute {x}.|{x}|What's {x}?"
        "|What is the result of {x}?|Can you work out {x}?|Tell me what {x} is.|I need to know what {x} is."
        "|What does {x} make?|Please calculate {x}.|What is the value of {x}?|Work out {x} for me.|Evaluate {x}."
    ),
    expression,
    number,
)

WEATHER = Task(
    _split("weather|weather|get_weather|forecast|weather_report|current_weather|sky"),
    _split("city|city|place|location|town|where|name"),
    _split(
        "Tell the weather in a city.|Tell the weather in a city.|Get the current weather of a place."
        "|The weather forecast for a city.|Say how the weather is.|Look up the weather."
    ),
    _split(
        "What is the weather in {x}?|What is the weather in {x}?|How is the weather in {x}?|Is it sunny in {x}?"
        "|Tell me the weather in {x}.|What's the weather like in {x}?|Will it rain in {x} today?|Weather in {x}?"
        "|What is the weather like in {x} today?|I want to know the weather in {x}.|Does it rain in {x}?"
        "|What will the weather be in {x}?|Can you tell me the weather in {x}?|Is it warm in {x}?"
    ),
    city,
    _sky,
)

TASKS = (
    ARITHMETIC,
    WEATHER,
    Task(
        _split("clock|get_time|time|local_time|world_clock"),
        _split("city|place|location|zone|where"),
        _split("Tell the time in a city.|Get the local time of a place.|Say what time it is.|The time in a place."),
        _split("What time is it in {x}?|Tell me the time in {x}.|What is the time in {x}?|How late is it in {x}?"),
        city,
        _hour,
    ),
    Task(
        _split("population|count_people|get_population|people"),
        _split("city|place|town|name|of"),
        _split("Tell how many people live in a place.|The number of people in a city.|Get the population of a city."),
        _split("How many people live in {x}?|What is the population of {x}?|Tell me the population of {x}."),
        city,
        number,
    ),
    Task(
        _split("price|get_price|shop|cost|price_of"),
        _split("item|product|thing|name|what"),
        _split("Tell what a thing costs.|Get the price of a product.|Look up a price in the shop."),
        _split("What does the {x} cost?|How much does {x} cost?|What is the price of {x}?|Tell me the price of {x}."),
        _words,
        _price,
    ),
    Task(
        _split("phone|phone_book|get_number|find_number|contacts"),
        _split("name|person|who|contact|of"),
        _split("Look up a phone number.|Find the phone number of a person.|The phone book."),
        _split("What is the phone number of {x}?|What is {x}'s phone number?|Find the phone number of {x}."),
        person,
        number,
    ),
    Task(
        _split("search|find|look_up|web_search|lookup|wiki"),
        _split("query|text|topic|words|q|term"),
        _split("Search the web.|Find pages about a topic.|Look something up.|Search for a text."),
        _split("Search for {x}.|Search the web for {x}.|Find pages about {x}.|Look up {x}."),
        _words,
        _told,
    ),
    Task(
        _split("translate|translator|to_french|say_in"),
        _split("word|text|phrase|input"),
        _split("Translate a word.|Translate a text into another language.|Say a word in French."),
        _split("Translate {x}.|Translate {x} into French.|How do you say {x} in French?|What is {x} in French?"),
        _words,
        anything,
    ),
    Task(
        _split("send|send_message|mail|message|notify"),
        _split("to|person|name|who"),
        _split("Send a message to a person.|Send mail.|Write to a person."),
        _split("Send a message to {x}.|Write to {x}.|Send mail to {x}.|Please write a message to {x}."),
        person,
        anything,
    ),
    Task(
        _split("stock|store|in_stock|inventory"),
        _split("item|product|part|name|key"),
        _split("Count the pieces in stock.|Tell how many of a thing are in the store.|Count things."),
        _split("How many {x} are in stock?|How many {x} are in the store?|Count the {x}."),
        _words,
        number,
    ),
)
"""All tasks; two of them are common."""
