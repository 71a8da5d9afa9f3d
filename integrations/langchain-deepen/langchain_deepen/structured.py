"""`ChatDeepen.with_structured_output`: a model with a requested structure, and a parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, get_args

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough

from deepen_llm import ResponseFormat
from deepen_llm.errors import ConfigError
from langchain_deepen.parser import AnswerParser
from langchain_deepen.schemas import Wanted
from langchain_deepen.tools import definitions

Way = Literal["json_schema", "function_calling", "json_mode"]


@dataclass(frozen=True)
class Structured:
    """A requested structure.

    Attributes:
        schema: A type that pydantic knows, a function or a tool for its arguments, or a JSON schema; None for any JSON.
        method: The method that enforces it.
        strict: See `ChatDeepen.bind_tools`.
    """

    schema: Any
    method: str
    strict: bool | None

    def over(self, model: BaseChatModel, include_raw: bool, options: Mapping[str, Any]) -> Runnable[Any, Any]:
        """The model, followed by the parser.

        Raises:
            ConfigError: The method is unknown, or the schema cannot be enforced.
        """
        if self.method not in get_args(Way):
            raise ConfigError(
                f"method={self.method!r} is unknown", hint=f"give one of {', '.join(map(repr, get_args(Way)))}"
            )
        if self.schema is None and self.method != "json_mode":
            raise ConfigError(f"no schema for method={self.method!r}", hint="give a schema, or method='json_mode'")
        wanted = None if self.schema is None else Wanted.of(self.schema)
        model_with_schema, parser = self._with_schema(model, wanted, options), self._parser(wanted)
        if not include_raw:
            return model_with_schema | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model_with_schema) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")

    def _with_schema(
        self, model: BaseChatModel, wanted: Wanted | None, options: Mapping[str, Any]
    ) -> Runnable[Any, Any]:
        traced: dict[str, Any] = {"kwargs": {"method": self.method, "strict": self.strict}}
        traced["schema"] = None if wanted is None else wanted.traced
        if wanted is not None and self.method == "function_calling":
            return model.bind_tools(
                [wanted.tool.definition()],
                tool_choice=wanted.name,
                parallel_tool_calls=False,
                ls_structured_output_format=traced,
                **options,
            )
        given = {**options, **({"tools": definitions(options["tools"])} if options.get("tools") else {})}
        return model.bind(response_format=self._response_format(wanted), ls_structured_output_format=traced, **given)

    def _response_format(self, wanted: Wanted | None) -> dict[str, Any]:
        if wanted is None or self.method == "json_mode":
            return {"type": "json_object"}
        response_format = {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": dict(wanted.schema)}}
        ResponseFormat.of(response_format)  # raises the ConfigError now, not when the model is called
        return response_format

    def _parser(self, wanted: Wanted | None) -> AnswerParser:
        if wanted is None:
            return AnswerParser()
        if self.method == "json_mode" and not wanted.of_object:
            raise ConfigError(
                f"json_mode holds answers to an object, and {wanted.name} is none",
                hint="use method='json_schema', the default",
            )
        called = self.method == "function_calling"
        return AnswerParser(
            kind=wanted.kind, tool=wanted.name if called else None, inside=called and not wanted.of_object
        )
