"""Reading by `transformers`' own response parser, where a tokenizer comes with a template for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from deepen_llm.tools.calls import CallDelta, new_id
from deepen_llm.tools.definitions import Tool
from deepen_llm.tools.reader import Event, Reader, Said, Thought

_THOUGHTS = ("thinking", "reasoning", "reasoning_content")  # what response templates call them


class TemplateReader(Reader):
    """Reads by the tokenizer's response template.

    Args:
        tokenizer: The main model's tokenizer.
        prompt: The prompt as text, which may have begun the answer.
        tools: The tools that may be called.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: str, tools: Sequence[Tool]) -> None:
        definitions = [tool.definition() for tool in tools]
        self._parser = tokenizer.get_response_parser(prefix=prompt, tools=definitions)
        self._calls, self._region, self._lost = -1, "", False

    @staticmethod
    def fits(tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the tokenizer has a response template, and this version of `transformers` reads by it."""
        return hasattr(tokenizer, "get_response_parser") and bool(getattr(tokenizer, "response_template", None))

    def feed(self, text: str) -> list[Event]:
        """See `Reader`."""
        return self._read(lambda: self._parser.feed(text), text)

    def feed_mark(self, mark: str, spelled: str) -> list[Event]:
        """See `Reader`; the template may need the token as it is written."""
        return self.feed(spelled)

    def finish(self) -> list[Event]:
        """See `Reader`."""
        return self._read(lambda: self._parser.finalize()[1], "")

    def _read(self, parse: Callable[[], Sequence[Mapping[str, Any]]], text: str) -> list[Event]:
        """What the parser tells; once it has met what it cannot read, such as a malformed call, all is text."""
        if not self._lost:
            try:
                return [event for raw in parse() for event in self._events(raw)]
            except (ValueError, KeyError, TypeError, AttributeError):
                self._lost, text = True, self._region + text
        return [Said(text)] if text else []

    def _events(self, raw: Mapping[str, Any]) -> list[Event]:
        field = raw["field"]
        if field == "tool_calls":
            self._region = self._region + raw["text"] if raw["type"] == "region_chunk" else ""
            return self._called(raw["value"]) if raw["type"] == "region_close" else []
        if raw["type"] != "region_chunk":
            return []
        return [Thought(raw["text"]) if field in _THOUGHTS else Said(raw["text"])]

    def _called(self, value: Any) -> list[Event]:
        events: list[Event] = []
        for call in value if isinstance(value, list) else [value]:
            inner = call.get("function", call)
            self._calls += 1
            arguments = json.dumps(inner.get("arguments") or {}, ensure_ascii=False)
            events.append(CallDelta(self._calls, arguments, inner["name"], new_id()))
        return events
