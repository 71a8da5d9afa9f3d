"""Development sets: prompts with right answers, read from JSON lines and checked before anything runs."""

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
"""The least number of examples; by default a third of them is held out."""

SHAPE = (
    'one JSON object a line, such as {"prompt": "2 + 2 =", "references": ["4"]}, '
    '{"messages": [{"role": "user", "content": "..."}], "references": ["..."]} or '
    '{"prompt": "...", "choices": ["yes", "no"], "answer": 0}'
)


class Example(Options):
    """A prompt with its right answers: references for a generated answer, or choices of which one is right.

    Attributes:
        prompt: A plain prompt to continue.
        messages: A conversation in place of a prompt; each member applies its own chat template.
        references: Right answers.
        choices: Continuations to choose from, with the leading space that many models expect.
        answer: The index of the right choice.
    """

    prompt: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.prompt) == bool(self.messages):
            given = "both" if self.prompt else "neither, or an empty one"
            raise ValueError(f"expected 'prompt' or 'messages', got {given}")
        if bool(self.references) == bool(self.choices):
            given = "both" if self.references else "neither, or an empty list"
            raise ValueError(f"expected 'references', a list of right answers, or 'choices' and 'answer', got {given}")
        if self.choices and (len(self.choices) < 2 or self.answer >= len(self.choices)):
            raise ValueError(
                f"expected 'answer' as an index of two or more choices, got {self.answer} of {len(self.choices)}"
            )
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("expected distinct choices, got one twice")
        if not all(self.references) or not all(self.choices):
            raise ValueError("expected answers with text, got an empty one")
        try:
            "".join([self.question_key, *self.references]).encode()
        except UnicodeEncodeError as error:
            raise ValueError("expected text in Unicode, got a lone surrogate") from error
        return self

    @property
    def question_key(self) -> str:
        """The question without case and repeated white space, to find duplicates."""
        contents = [str(message.get("content")) for message in self.messages] or [self.prompt]
        return " ".join(" ".join([*contents, *self.choices]).casefold().split())

    @property
    def right(self) -> str:
        """A right answer without case and surrounding white space."""
        return (self.choices[self.answer] if self.choices else self.references[0]).strip().casefold()


class Examples(list[Example]):
    """Examples with their positions for error messages.

    Args:
        examples: The examples.
        name: The name of the file or data set.
        positions: The position of each example, such as ``line 3``.
        left_out: The positions of examples that were left out because they are too long.
    """

    def __init__(
        self, examples: Iterable[Example], name: str, positions: Iterable[str], left_out: Iterable[str] = ()
    ) -> None:
        super().__init__(examples)
        self.name = name
        self.positions = tuple(positions)
        self.left_out = tuple(left_out)

    def without(self, positions: Collection[str]) -> Examples:
        """Leave out the examples at some positions."""
        kept = [
            (position, example)
            for position, example in zip(self.positions, self, strict=True)
            if position not in positions
        ]
        return Examples(
            (example for _, example in kept),
            self.name,
            (position for position, _ in kept),
            (*self.left_out, *positions),
        )


Dataset = str | Path | Sequence[Example | Mapping[str, Any]]
"""A file of JSON lines, or the examples themselves."""


def read_examples(dataset: Dataset, *, chat: bool = False) -> Examples:
    """Read a set of examples; other fields than those of `Example` are ignored.

    Args:
        dataset: A file or examples. ``reference`` and ``answer`` (a text) count as one reference, ``question`` as the
            prompt.
        chat: Whether each plain prompt becomes a user's message.

    Raises:
        DatasetError: The file or a line cannot be read, an example is incomplete, or two have one question.
    """
    name, positioned = _positioned(dataset)
    examples = [_example(name, position, value, chat) for position, value in positioned]
    if not examples:
        raise DatasetError(f"expected examples in {name}, got none", hint=f"write {SHAPE}")
    kinds = {bool(example.choices) for example in examples}
    if len(kinds) > 1:
        raise DatasetError(f"{name} has choices in some examples and references in others", hint="make two sets of it")
    counts = Counter(example.question_key for example in examples)
    if repeated := [i for i, example in enumerate(examples, 1) if counts[example.question_key] > 1]:
        raise DatasetError(
            f"expected each question once in {name}, got one more than once: examples {_listed(repeated)}",
            hint="keep one copy: otherwise a held-out question may be one that the settings were chosen on",
        )
    return Examples(examples, name, [position for position, _ in positioned], getattr(dataset, "left_out", ()))


def check_set(examples: Sequence[Example]) -> None:
    """Check that a development set has enough examples and different answers.

    Raises:
        DatasetError: It has too few examples, or one answer to all.
    """
    if len(examples) < LEAST:
        raise DatasetError(
            f"expected at least {LEAST} examples, got {len(examples)}",
            hint="give 200 or more to detect a difference of ten points, about 800 for one of five",
        )
    if len({example.right for example in examples}) == 1:
        raise DatasetError(
            f"expected different answers, got {examples[0].right!r} as the answer to all {len(examples)} examples",
            hint="give examples of every class",
        )


def check_disjoint(examples: Sequence[Example], test: Sequence[Example]) -> None:
    """Check that a test set has no question of the development set.

    Raises:
        DatasetError: The sets share a question.
    """
    seen = {example.question_key for example in examples}
    if shared := [i for i, example in enumerate(test, 1) if example.question_key in seen]:
        raise DatasetError(
            f"expected a test set without questions of the development set, got its examples {_listed(shared)}",
            hint="remove them from one set: scores on questions that the settings were chosen on are too high",
        )


def _positioned(dataset: Dataset) -> tuple[str, list[tuple[str, Any]]]:
    """The name of a set, and each example with its position."""
    if isinstance(dataset, Examples):
        return dataset.name, list(zip(dataset.positions, dataset, strict=True))
    if isinstance(dataset, str | Path):
        return str(dataset), list(_lines(dataset))
    if not isinstance(dataset, Iterable):
        raise DatasetError(
            f"expected examples, got {dataset!r:.60}", hint="give a file of JSON lines, or a list of them"
        )
    return "dataset", [(f"example {number}", example) for number, example in enumerate(dataset, 1)]


def _lines(file: str | Path) -> Iterable[tuple[str, Any]]:
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"the dataset {file} cannot be read: {error}", hint=f"give a UTF-8 file: {SHAPE}") from error
    for number, line in enumerate(
        text.split("\n"), 1
    ):  # not splitlines, since JSON strings may contain other line separators
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except ValueError as error:
                raise DatasetError(f"expected JSON in {file}, line {number}: {error}", hint=f"write {SHAPE}") from None


def _example(name: str, position: str, value: Any, chat: bool) -> Example:
    if isinstance(value, Example):
        value = dict(value)
    if not isinstance(value, Mapping):
        raise DatasetError(f"expected a JSON object in {name}, {position}, got {value!r:.60}", hint=f"write {SHAPE}")
    fields = _renamed(value)
    if chat and fields.get("prompt"):
        fields["messages"] = [{"role": "user", "content": fields.pop("prompt")}]
    try:
        return Example(**{name: field for name, field in fields.items() if name in Example.model_fields})
    except ConfigError as error:
        raise DatasetError(
            f"{name}, {position}: {error.message.removeprefix('Example: ')}", hint=f"write {SHAPE}"
        ) from None


def _renamed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The names that sets in use have for a prompt and for references."""
    fields = dict(value)
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
