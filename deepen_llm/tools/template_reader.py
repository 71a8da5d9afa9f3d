"""Parser of answers by the response template of a tokenizer in ``transformers``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from deepen_llm.tools.calls import CallDelta, new_id
from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.reader import AnswerText, Event, Reader, ReasoningText

_THOUGHTS = ("thinking", "reasoning", "reasoning_content")  # fields of reasoning in response templates


class TemplateReader(Reader):
    """Parses an answer by the tokenizer's response template.

    Args:
        tokenizer: The main model's tokenizer.
        prompt: The prompt as text, which may contain the beginning of the answer.
        tools: The tools that may be called.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: str, tools: Sequence[Tool]) -> None:
        definitions = [tool.definition() for tool in tools]
        self._parser = tokenizer.get_response_parser(prefix=prompt, tools=definitions)
        self._calls = -1
        self._region = ""
        self._failed = False

    @staticmethod
    def fits(tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the tokenizer has a response template that this version of ``transformers`` supports."""
        return hasattr(tokenizer, "get_response_parser") and bool(getattr(tokenizer, "response_template", None))

    @override
    def feed(self, text: str) -> list[Event]:
        return self._read(lambda: self._parser.feed(text), text)

    @override
    def feed_mark(self, mark: str, spelled: str) -> list[Event]:
        return self.feed(spelled)  # the template may need the token

    @override
    def finish(self) -> list[Event]:
        return self._read(lambda: self._parser.finalize()[1], "")

    def _read(self, parse: Callable[[], Sequence[Mapping[str, Any]]], text: str) -> list[Event]:
        """Parse events; after an error of the parser, such as a malformed call, everything is text."""
        if not self._failed:
            try:
                return [event for raw in parse() for event in self._events(raw)]
            except (ValueError, KeyError, TypeError, AttributeError):
                self._failed = True
                text = self._region + text
        return [AnswerText(text)] if text else []

    def _events(self, raw: Mapping[str, Any]) -> list[Event]:
        field = raw["field"]
        if field == "tool_calls":
            self._region = self._region + raw["text"] if raw["type"] == "region_chunk" else ""
            return self._called(raw["value"]) if raw["type"] == "region_close" else []
        if raw["type"] != "region_chunk":
            return []
        return [ReasoningText(raw["text"]) if field in _THOUGHTS else AnswerText(raw["text"])]

    def _called(self, value: Any) -> list[Event]:
        events: list[Event] = []
        for call in value if isinstance(value, list) else [value]:
            inner = call.get("function", call)
            self._calls += 1
            arguments = json.dumps(inner.get("arguments") or {}, ensure_ascii=False)
            events.append(CallDelta(self._calls, arguments, inner["name"], new_id()))
        return events
