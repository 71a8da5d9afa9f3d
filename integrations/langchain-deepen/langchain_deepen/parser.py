"""Parses an answer into a value of the requested type."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage, BaseMessageChunk
from langchain_core.output_parsers.transform import BaseCumulativeTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.utils.json import parse_partial_json
from pydantic import BaseModel, SkipValidation, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from deepen_llm import ResponseFormat
from deepen_llm.errors import StructureError
from langchain_deepen.schemas import INSIDE
from langchain_deepen.tools import is_old

_NOTHING = object()


class AnswerParser(BaseCumulativeTransformOutputParser[Any]):
    """Parses an answer into a value of the requested type.

    While streaming, JSON and a ``TypedDict`` are yielded as partial values, a pydantic model whenever the partial value
    is valid, and other types once, at the end.

    Attributes:
        kind: The type; None for plain JSON values.
        tool: The function whose arguments are the answer; None where it is the message's text.
        inside: Whether the answer is the argument ``answer``.
    """

    kind: Annotated[Any, SkipValidation()] = None
    tool: str | None = None
    inside: bool = False

    @property
    def _type(self) -> str:
        return "deepen_answer"

    def parse(self, text: str) -> Any:
        """Parse an answer.

        Raises:
            OutputParserException: It is no value of the type.
        """
        old = is_old(self.kind)
        try:
            value = ResponseFormat({}, None if old else self.kind).read(text)
            return self.kind.parse_obj(value) if old else value
        except (StructureError, ValueError) as error:  # pydantic.v1 raises ValueError
            raise OutputParserException(getattr(error, "message", str(error)), llm_output=text) from error

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Parse a message.

        Args:
            result: The message as the first item.
            partial: Whether the message is incomplete; the value is None where nothing can be parsed yet.

        Raises:
            OutputParserException: It is no value of the type, or does not call the function.
        """
        if not partial:
            return self.parse(self._written(result[0]))
        so_far = self.so_far(result[0])
        return None if so_far is _NOTHING else so_far

    def _written(self, given: Generation) -> str:
        """The answer as JSON."""
        if self.tool is None:
            return given.text
        arguments = self._arguments(given)
        if arguments is None or (self.inside and INSIDE not in arguments):
            raise OutputParserException(f"the message does not call {self.tool!r}", llm_output=given.text)
        return json.dumps(arguments[INSIDE] if self.inside else arguments, ensure_ascii=False)

    def _arguments(self, given: Generation) -> dict[str, Any] | None:
        message = given.message if isinstance(given, ChatGeneration) else None
        calls = message.tool_calls if isinstance(message, AIMessage) else []
        return next((call["args"] for call in calls if call["name"] == self.tool), None)

    def so_far(self, given: Generation) -> Any:
        """The value of an incomplete answer, or `_NOTHING` where there is none yet."""
        value = self._value_so_far(given)
        if value is _NOTHING or self.kind is None or is_typeddict(self.kind):
            return value
        if not (isinstance(self.kind, type) and issubclass(self.kind, BaseModel)):
            return _NOTHING
        try:
            return TypeAdapter(self.kind).validate_json(json.dumps(value))
        except (ValidationError, ValueError):
            return _NOTHING

    def _value_so_far(self, given: Generation) -> Any:
        if self.tool is not None:
            arguments = self._arguments(given)
            return _NOTHING if arguments is None else arguments.get(INSIDE, _NOTHING) if self.inside else arguments
        try:
            return parse_partial_json(given.text.strip())
        except ValueError:
            return _NOTHING

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:  # noqa: A002 (LangChain's name)
        partial = _PartialAnswer(self)
        for chunk in input:
            yield from partial.extend(chunk)
        yield from partial.end()

    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:  # noqa: A002
        partial = _PartialAnswer(self)
        async for chunk in input:
            for value in partial.extend(chunk):
                yield value
        for value in partial.end():
            yield value


class _PartialAnswer:
    """Yields the values of a stream, each once; at the end the whole value, or the parser's error."""

    def __init__(self, parser: AnswerParser) -> None:
        self._parser, self._last = parser, _NOTHING
        self._message: Any = None

    def extend(self, chunk: str | BaseMessage) -> Iterator[Any]:
        self._message = chunk if self._message is None else self._message + chunk
        if isinstance(chunk, str | BaseMessageChunk):
            yield from self._new(self._parser.so_far(self._generation))

    def end(self) -> Iterator[Any]:
        if self._message is not None:
            yield from self._new(self._parser.parse_result([self._generation]))

    @property
    def _generation(self) -> Generation:
        so_far = self._message
        return Generation(text=so_far) if isinstance(so_far, str) else ChatGeneration(message=so_far)

    def _new(self, value: Any) -> Iterator[Any]:
        if value is not _NOTHING and (
            self._last is _NOTHING or value != self._last or type(value) is not type(self._last)
        ):
            self._last = value
            yield value
