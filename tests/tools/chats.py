"""Chat templates of the field's kinds, abbreviated, and members that answer what they are told to."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from deepen_llm import EnsembleLLM
from deepen_llm.fusion.past import Trail
from deepen_llm.members.base import Context, Reading
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import Draft, Prompt
from tests.models import random_model
from tests.tokenizers import SMALL

HERMES = """\
{%- if tools %}<|im_start|>system
{%- if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}
# Tools
<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role != 'system' %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA3 = """\
{%- if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}
{%- if tools %}Respond with {"name": function name, "parameters": dictionary}.
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}ipython
{{ message.content | tojson }}
{% elif message.tool_calls %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('only one tool call at once') }}{% endif %}
{%- set call = message.tool_calls[0].function %}assistant
{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}
{% elif message.role != 'system' %}{{ message.role }}
{{ message.content }}
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}assistant
{% endif %}"""

MISTRAL = """\
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and loop.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif -%}
[INST] {{ message.content }}[/INST]
{%- elif message.role == 'tool' %}
{%- if tools and loop.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif -%}
[TOOL_RESULTS]{"content": {{ message.content | tojson }}, "call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]
{%- elif message.tool_calls %}[TOOL_CALLS][
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('ids have 9 characters') }}{% endif -%}
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}
{%- if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}
{%- elif message.role == 'assistant' %} {{ message.content }}{{ eos_token }}
{%- else %}{{ raise_exception('unknown role') }}{% endif %}
{%- endfor %}"""

MISTRAL_ARGS = """\
{%- if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}[INST]{{ message.content }}[/INST]
{%- elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.content }}[/TOOL_RESULTS]
{%- else %}{{ message.content }}
{%- for call in message.tool_calls or [] -%}
[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}
{%- endfor %}{{ eos_token }}{% endif %}
{%- endfor %}"""

PLAIN = """\
{%- for message in messages %}{{ message.role }}
{{ message.content }}
{% endfor %}{% if add_generation_prompt %}assistant
{% endif %}"""

STRICT = """\
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns') }}{% endif -%}
{{ message.role }}
{{ message.content }}
{% endfor %}{% if add_generation_prompt %}assistant
{% endif %}"""
"""No system message, user and assistant in turns: Gemma's kind, and Mistral's first."""

TEMPLATES = {
    "hermes": HERMES,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "mistral_args": MISTRAL_ARGS,
    "plain": PLAIN,
    "strict": STRICT,
}
_STRENGTH = 30.0  # nats
_LONGEST = 32  # bytes of a token that is worth looking for
_MARKS = (b"assistant\n", b"[/INST]", b"[/TOOL_RESULTS]")


def tokenizer(kind: str, template: str, special: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """A small tokenizer with one of the templates, and special tokens."""
    made = copy.deepcopy(SMALL[kind]())
    made.add_special_tokens({"additional_special_tokens": [*special]})
    made.chat_template = TEMPLATES.get(template, template)
    return made


Answers = Callable[[str], str]
"""From a prompt as text to the answer that a member wants to give."""


class Answering(LocalMember):
    """A real member with a strong opinion on top of what its model says.

    Args:
        tokenizer: Its tokenizer.
        answers: Its opinion.
        obeyed: Special tokens that it means as such where it spells them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, answers: Answers, obeyed: Sequence[str] = ()) -> None:
        model = random_model("llama", len(tokenizer), tokenizer.eos_token_id, num_hidden_layers=1)
        super().__init__(model, tokenizer, "answering")
        self.answers, self.obeyed = answers, obeyed
        self.prompts: list[str] = []

    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        self.prompts += [self.chat.spelled(prompt.ids) for prompt in prompts]
        return _Opinion(self, super().open(prompts, back=back))

    def wanted(self, ids: Sequence[int]) -> int | None:
        """The next token of the answer, where the text so far goes along with it."""
        surfaces, spellings = self.vocabulary.surfaces, self.vocabulary.spellings
        text = b"".join(surfaces[id_] or spellings.get(id_, "").encode() for id_ in ids)
        place = max(text.rfind(mark) + len(mark) for mark in _MARKS if mark in text)
        said, answer = text[place:], self.answers(text[:place].decode()).encode()
        if not answer.startswith(said):
            return None
        rest = answer[len(said) :]
        special = {spelled.encode(): id_ for id_, spelled in spellings.items() if spelled in self.obeyed}
        if (found := next((id_ for spelled, id_ in special.items() if rest.startswith(spelled)), None)) is not None:
            return found
        ends = [at for spelled in special if (at := rest.find(spelled)) > 0]
        plain = rest[: min(ends, default=len(rest))]
        if not plain:
            return next(iter(self.vocabulary.end_of_text), None)
        known, sizes = self.vocabulary.ids, range(min(_LONGEST, len(plain)), 0, -1)
        return next((known[plain[:size]] for size in sizes if plain[:size] in known), None)


class _Opinion(Context):
    def __init__(self, member: Answering, inner: Context) -> None:
        self._member, self._inner = member, inner

    def boundaries(self, drafts: Sequence[Draft]) -> list[list[int]]:
        return self._inner.boundaries([()] * len(drafts))

    def added(self, drafts: Sequence[Draft]) -> list[list[int] | None]:
        return self._inner.added(drafts)

    def read(self, drafts: Sequence[Draft], *, ends_only: bool = False) -> Reading:
        reading = self._inner.read([()] * len(drafts))
        logits = torch.stack([self._opinion(ids, one) for ids, one in zip(self.ids, reading.logits, strict=True)])
        trails = [
            Trail.of(one.tokens, [self._opinion(ids[:-k], earlier) for k, earlier in enumerate(one.logits, 1)])
            for ids, one in zip(self.ids, reading.trails, strict=False)
        ]
        return Reading(logits, reading.lengths, trails)

    def _opinion(self, ids: Sequence[int], logits: Tensor) -> Tensor:
        logits, token = logits.clone(), self._member.wanted(ids)
        if token is not None:
            logits[token] += _STRENGTH
        return logits

    def reread(self, rows: Sequence[int]) -> None:
        self._inner.reread(rows)

    def check(self) -> None:
        self._inner.check()

    def append(self, heard: Sequence[Draft]) -> None:
        self._inner.append(heard)

    def join(self, other: Context) -> None:
        assert isinstance(other, _Opinion)
        self._inner.join(other._inner)  # noqa: SLF001 - of its own class

    def select(self, rows: Sequence[int]) -> None:
        self._inner.select(rows)

    def close(self) -> None:
        self._inner.close()

    @property
    def ids(self) -> list[list[int]]:
        return self._inner.ids


def answering(
    answers: Answers, template: str = "hermes", special: Sequence[str] = (), other: str = "plain"
) -> EnsembleLLM:
    """Two members with different vocabularies and templates who agree on the answer."""
    main = Answering(tokenizer("byte_level_bpe", template, special), answers, special)
    return EnsembleLLM([main, Answering(tokenizer("sentencepiece_bpe", other), answers)], fusion="bayes")
