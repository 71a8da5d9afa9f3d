"""What the scripted members say: to a plain prompt, and to the last message of a conversation."""

import json
import re
from typing import Any

LONG = "Zwö 🚀 lazy 狗, it was right! So."
PLAIN = {"The quick brown": LONG, "A list": "one, two, three"}
JOKE = json.dumps({"setup": "Why did the cat cross?", "punchline": "It was there."})


def call(name: str, **arguments: Any) -> str:
    """A tool call as both members write it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}\n</tool_call>'


RULES: list[tuple[str, str]] = [  # the first whose pattern is found in the last turn; with tools those of TOOLS before
    (r"How are you, (\w+)", "I am fine, {}. What can I do?"),
    (r"joke", JOKE),
    (r"[Hh]aiku|[Hh]ello|\bhi\b|Hey|how are you", LONG),
    (r"<tool_response>", "The tool says so."),
]
TOOLS: list[tuple[str, str]] = [
    (r"<tool_response>\s*(.+?)\s*</tool_response>", "It says {}."),
    (r"magic_function_no_args", call("magic_function_no_args")),
    (r"magic_function|Hello!", call("magic_function", input=3)),
    (r"Pirate", call("greeting_generator", answer_style="Pirate")),
    (r"San Francisco", call("get_weather", location="San Francisco, CA")),
    (r"What is 3 \+ 4", call("my_adder_tool", a=3, b=4)),
    (r"你好", call("unicode_customer", customer_name="你好啊集团", description="Hello Group")),
    (r"こんにちは", call("unicode_customer", customer_name="こんにちは株式会社", description="Hello")),
    (r"both", "I ask both. " + call("weather", city="Paris") + "\n" + call("add", a=1, b=2)),
    (r"weather in (\w+)", call("weather", city="{}")),
    (r"(\d+) plus (\d+)", call("add", a="{}", b="{}").replace('"{}"', "{}")),
    (r"joke", call("Joke", **json.loads(JOKE))),
]


def answers(prompt: str) -> str:
    """The answer to a prompt, or to the last turn of a conversation."""
    if "<|turn|>" not in prompt:
        return PLAIN.get(prompt, LONG)
    turn = prompt.rsplit("<|turn|>", 1)[1]
    rules = TOOLS + RULES if "# Tools" in prompt else RULES
    for pattern, answer in rules:
        if found := re.search(pattern, turn.split("</tools>")[-1], re.DOTALL):
            for heard in found.groups():
                answer = answer.replace("{}", heard, 1)
            return answer
    return "I do not know."
