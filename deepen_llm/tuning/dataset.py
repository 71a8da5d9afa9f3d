"""Development sets: prompts with what a good answer is, from JSON lines, checked before anything runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from typing_extensions import Self

from deepen_llm.errors import ConfigError, DatasetError
from deepen_llm.options import Options

LEAST = 30
"""Examples without which nothing is tuned: a third of them has to show what the rest has chosen."""

SHAPE = (
    'one JSON object a line, such as {"prompt": "2 + 2 =", "references": ["4"]}, '
    '{"messages": [{"role": "user", "content": "..."}], "references": ["..."]} or '
    '{"prompt": "...", "choices": ["yes", "no"], "answer": 0}'
)


class Example(Options):
    """What is asked, and what a good answer is: references for a generated one, or choices of which one is right.

    Attributes:
        prompt: A plain prompt, to be continued.
        messages: A conversation in its place, which each member reads through its own chat template.
        references: Right answers, any of them as good.
        choices: What may follow, as it is spelled: many models begin it with a space.
        answer: Index of the right choice.
    """

    prompt: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.prompt) == bool(self.messages):
            raise ValueError("give either 'prompt' or 'messages'")
        if bool(self.references) == bool(self.choices):
            raise ValueError("give either 'references', a list of right answers, or 'choices' and 'answer'")
        if self.choices and (len(self.choices) < 2 or self.answer >= len(self.choices)):
            raise ValueError(f"'answer' {self.answer} is no index of {len(self.choices)} choices; two are the fewest")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("a choice is there twice")
        if not all(self.references) or not all(self.choices):
            raise ValueError("an answer is empty")
        try:
            "".join([self.asked, *self.references]).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a lone surrogate, which is no character") from error
        return self

    @property
    def asked(self) -> str:
        """What tells questions apart, but for case and white space."""
        spoken = [str(message.get("content")) for message in self.messages] or [self.prompt]
        return " ".join(" ".join([*spoken, *self.choices]).casefold().split())

    @property
    def right(self) -> str:
        """A right answer, but for case and white space."""
        return (self.choices[self.answer] if self.choices else self.references[0]).strip().casefold()


class Examples(list[Example]):
    """Examples, with the places that messages name them by.

    Args:
        examples: The examples.
        name: The file, or what stands for it.
        places: Where each stands, such as ``line 3``.
        left_out: The places of those that were too long and were left out.
    """

    def __init__(
        self, examples: Iterable[Example], name: str, places: Iterable[str], left_out: Iterable[str] = ()
    ) -> None:
        super().__init__(examples)
        self.name, self.places, self.left_out = name, tuple(places), tuple(left_out)

    def without(self, places: Collection[str]) -> Examples:
        """The examples but those in some places."""
        kept = [(place, one) for place, one in zip(self.places, self, strict=True) if place not in places]
        return Examples((one for _, one in kept), self.name, (place for place, _ in kept), (*self.left_out, *places))


Dataset = str | Path | Sequence[Example | Mapping[str, Any]]
"""A file of JSON lines, or the examples themselves."""


def read_examples(dataset: Dataset, *, chat: bool = False) -> Examples:
    """Read a set of examples; what they have beside the fields of `Example` is left aside.

    Args:
        dataset: A file or examples. ``reference`` and ``answer`` (a text) count as one reference, ``question`` as the
            prompt.
        chat: Make each plain prompt a user's message.

    Raises:
        DatasetError: The file or a line cannot be read, an example lacks something, or two ask the same.
    """
    name, given = _placed(dataset)
    examples = [_example(name, place, one, chat) for place, one in given]
    if not examples:
        raise DatasetError(f"{name} holds no example", hint=f"write {SHAPE}")
    kinds = {bool(example.choices) for example in examples}
    if len(kinds) > 1:
        raise DatasetError(f"{name} has choices in some examples and references in others", hint="make two sets of it")
    asked = Counter(example.asked for example in examples)
    if twice := [i for i, example in enumerate(examples, 1) if asked[example.asked] > 1]:
        raise DatasetError(
            f"{name} asks the same more than once: examples {_listed(twice)}",
            hint="keep each question once: one copy would choose the settings that the other one is to judge",
        )
    return Examples(examples, name, [place for place, _ in given], getattr(dataset, "left_out", ()))


def check_set(examples: Sequence[Example]) -> None:
    """Whether a development set can tell anything.

    Raises:
        DatasetError: It has too few examples, or the same answer to all.
    """
    if len(examples) < LEAST:
        raise DatasetError(
            f"{len(examples)} examples are too few to tell anything: {LEAST} are the fewest",
            hint="give 200 or more: then a difference of ten points shows; one of five takes about 800",
        )
    if len({example.right for example in examples}) == 1:
        raise DatasetError(
            f"all {len(examples)} examples have one answer, {examples[0].right!r}: whoever always says so is right",
            hint="give examples of every class",
        )


def check_disjoint(examples: Sequence[Example], test: Sequence[Example]) -> None:
    """Whether a test set is one that the settings were not chosen on.

    Raises:
        DatasetError: It asks what the development set asks.
    """
    seen = {example.asked for example in examples}
    if shared := [i for i, example in enumerate(test, 1) if example.asked in seen]:
        raise DatasetError(
            f"the test set asks what the development set asks: its examples {_listed(shared)}",
            hint="take them out of either: scores on questions that chose the settings are too good",
        )


def _placed(dataset: Dataset) -> tuple[str, list[tuple[str, Any]]]:
    """What a set is called, and each example with its place."""
    if isinstance(dataset, Examples):
        return dataset.name, list(zip(dataset.places, dataset, strict=True))
    if isinstance(dataset, str | Path):
        return str(dataset), list(_lines(dataset))
    return "dataset", [(f"example {number}", one) for number, one in enumerate(dataset, 1)]


def _lines(file: str | Path) -> Iterable[tuple[str, Any]]:
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"the dataset {file} cannot be read: {error}", hint=f"give a UTF-8 file: {SHAPE}") from error
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON strings may hold its other separators
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except ValueError as error:
                raise DatasetError(f"{file}, line {number} is no JSON: {error}", hint=f"write {SHAPE}") from None


def _example(name: str, place: str, given: Any, chat: bool) -> Example:
    if isinstance(given, Example):
        given = dict(given)
    if not isinstance(given, Mapping):
        raise DatasetError(f"{name}, {place} is no JSON object: {given!r:.60}", hint=f"write {SHAPE}")
    fields = _renamed(given)
    if chat and fields.get("prompt"):
        fields["messages"] = [{"role": "user", "content": fields.pop("prompt")}]
    try:
        return Example(**{name: one for name, one in fields.items() if name in Example.model_fields})
    except ConfigError as error:
        raise DatasetError(
            f"{name}, {place}: {error.message.removeprefix('Example: ')}", hint=f"write {SHAPE}"
        ) from None


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The names that sets in use have for a prompt and for references."""
    fields = dict(given)
    if "prompt" not in fields and "question" in fields:
        fields["prompt"] = fields["question"]
    for name in ("reference", "answer"):
        if isinstance(fields.get(name), str) and not fields.get("references") and not fields.get("choices"):
            fields["references"] = [fields.pop(name)]
    if isinstance(fields.get("answer"), str) and fields["answer"] in (fields.get("choices") or ()):
        fields["answer"] = list(fields["choices"]).index(fields["answer"])
    return fields


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
