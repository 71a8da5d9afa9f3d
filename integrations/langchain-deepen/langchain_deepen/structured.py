"""Answers in a structure: what the model is asked for, and how its message is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, get_args, get_origin

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, TypeAdapter

from deepen_llm.errors import ConfigError

Way = Literal["json_schema", "function_calling", "json_mode"]


@dataclass(frozen=True)
class Structured:
    """A structure that a user asks for.

    Attributes:
        schema: A pydantic model, dataclass, ``TypedDict`` or JSON schema.
        method: How the model is held to it.
        strict: See `ChatDeepen.bind_tools`.
    """

    schema: Any
    method: str
    strict: bool | None

    def over(self, model: BaseChatModel, include_raw: bool, options: Mapping[str, Any]) -> Runnable[Any, Any]:
        """The model, and behind it the parser.

        Raises:
            ConfigError: The method is unknown, or the schema is none.
        """
        if self.method not in get_args(Way):
            raise ConfigError(
                f"method={self.method!r} is unknown", hint=f"give one of {', '.join(map(repr, get_args(Way)))}"
            )
        if self.schema is None and self.method != "json_mode":
            raise ConfigError(f"no schema for method={self.method!r}", hint="give a schema, or method='json_mode'")
        asking, parser = self._asking(model, options), self._parser()
        if not include_raw:
            return asking | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=asking) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")

    def _asking(self, model: BaseChatModel, options: Mapping[str, Any]) -> Runnable[Any, Any]:
        told = {"kwargs": {"method": self.method, "strict": self.strict}, "schema": self._told()}
        if self.method == "function_calling":
            if isinstance(self._told(), Mapping) and self._told().get("type", "object") != "object":
                raise ConfigError(
                    "only an object can be the arguments of a function", hint="use method='json_schema', the default"
                )
            return model.bind_tools(
                [self._told()],
                tool_choice=self._tool["function"]["name"],
                strict=self.strict,
                parallel_tool_calls=False,
                ls_structured_output_format=told,
                **options,
            )
        asked = {"type": "json_object"} if self.method == "json_mode" else self._response_format()
        return model.bind(response_format=asked, ls_structured_output_format=told, **options)

    @property
    def _tool(self) -> dict[str, Any]:
        return convert_to_openai_tool(self._told(), strict=self.strict)

    def _told(self) -> Any:
        """The schema as LangChain's own helpers know it: they know no dataclasses, and no schema without a title."""
        if hasattr(self.schema, "__dataclass_fields__") or get_origin(self.schema) is not None:
            return {"title": "answer", **TypeAdapter(self.schema).json_schema()}
        if not isinstance(self.schema, Mapping) or "parameters" in self.schema or "function" in self.schema:
            return self.schema
        wrapped = self.schema.get("json_schema", self.schema)  # the form of the APIs' own response_format
        inner = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
        if isinstance(inner, Mapping):
            return {"title": wrapped.get("name", "answer"), **inner}
        return {"title": "answer", **self.schema}

    def _response_format(self) -> dict[str, Any]:
        schema = self._told()
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            found = schema.model_json_schema()  # LangChain's form has no room for recursive models
        elif isinstance(schema, Mapping) and not {"parameters", "function"} & set(schema):
            found = dict(schema)
        else:
            found = convert_to_json_schema(schema)
        return {"type": "json_schema", "json_schema": {"name": found.get("title", "answer"), "schema": found}}

    def _parser(self) -> Runnable[AIMessage, Any]:
        if isinstance(self.schema, type) and is_basemodel_subclass(self.schema):
            if self.method == "function_calling":
                return PydanticToolsParser(tools=[self.schema], first_tool_only=True)
            return PydanticOutputParser(pydantic_object=self.schema)
        if self.method == "function_calling":
            plain: Runnable[AIMessage, Any] = JsonOutputKeyToolsParser(
                key_name=self._tool["function"]["name"], first_tool_only=True
            )
        else:
            plain = JsonOutputParser()
        if isinstance(self.schema, type) and hasattr(self.schema, "__dataclass_fields__"):
            return plain | RunnableLambda(_validated(self.schema))
        return plain


def _validated(kind: type) -> Callable[[Any], Any]:
    return TypeAdapter(kind).validate_python
