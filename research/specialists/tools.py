"""Tools to call in a conversation.

A tool's name, its parameter's name and its description are drawn for every conversation, so that the model must read
them from the prompt.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from research.specialists.documents import Messages
from research.specialists.names import invented
from research.specialists.phrasing import CLOSINGS, OPENINGS
from research.specialists.tasks import ARITHMETIC, TASKS, WEATHER, Task, anything


@dataclass(frozen=True)
class Tool:
    """A tool that a conversation offers.

    Args:
        task: The task.
        name: The name.
        parameter: The name of its only parameter.
        description: The description in its definition.
    """

    task: Task
    name: str
    parameter: str
    description: str

    @property
    def schema(self) -> dict[str, Any]:
        """The definition in the form of chat templates."""
        properties = {self.parameter: {"type": "string"}}
        parameters = {"type": "object", "properties": properties, "required": [self.parameter]}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}

    def call(self, argument: str) -> dict[str, Any]:
        """An assistant's message that calls the tool."""
        function = {"name": self.name, "arguments": {self.parameter: argument}}
        return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}

    def answer(self, result: str) -> dict[str, Any]:
        """The tool's message."""
        return {"role": "tool", "name": self.name, "content": result}


def offered(source: random.Random, wanted: Task) -> list[Tool]:
    """Draw one to three tools in random order, one of them for the task.

    Args:
        source: The source of randomness.
        wanted: The task.
    """
    tasks = [wanted]
    for _ in range(source.choices((0, 1, 2), weights=(3, 5, 3))[0]):
        other = source.choice((ARITHMETIC, WEATHER)) if source.random() < 0.3 else source.choice(TASKS)
        tasks += [other] if other not in tasks else []
    source.shuffle(tasks)
    return [_tool(source, task) for task in tasks]


def drawn_task(source: random.Random) -> Task:
    """Draw a task; arithmetic and the weather are the most common."""
    draw = source.random()
    return ARITHMETIC if draw < 0.3 else WEATHER if draw < 0.5 else source.choice(TASKS)


def _tool(source: random.Random, task: Task) -> Tool:
    name, parameter = source.choice(task.names), source.choice(task.parameters)
    if source.random() < 0.15:
        name = "_".join(invented(source).lower() for _ in range(source.randint(1, 2)))
    if source.random() < 0.15:
        parameter = invented(source).lower()
    return Tool(task, name, parameter, source.choice(task.descriptions))


def result(source: random.Random, task: Task) -> str:
    """Draw a tool's result, sometimes one that does not fit."""
    return task.result(source) if source.random() < 0.75 else anything(source)


def called(source: random.Random, offered: list[Tool]) -> Messages:
    """A question for one of the tools, its call, its result, and the result as the answer."""
    tool = source.choice(offered)
    argument = tool.task.argument(source)
    question = source.choice(tool.task.questions).format(x=argument)
    question = source.choice(OPENINGS) + question + source.choice(CLOSINGS)
    told = result(source, tool.task)
    answer = {"role": "assistant", "content": told}
    return [{"role": "user", "content": question}, tool.call(argument), tool.answer(told), answer]


def plain(source: random.Random) -> str:
    """The text of a conversation with tools, without markers, for the training of a vocabulary."""
    tools = offered(source, drawn_task(source))
    asked, call, told, _ = called(source, tools)
    lines = [f"{tool.name}({tool.parameter}): {tool.description}" for tool in tools]
    function = json.dumps(call["tool_calls"][0]["function"])
    return "\n".join(("Tools:", *lines, f"User: {asked['content']}", function, told["content"]))
