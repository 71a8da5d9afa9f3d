"""Options of a call: how to generate, and what the answer must be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator
from typing_extensions import Self

from deepen_llm.members.template_variables import TemplateVariables
from deepen_llm.options import Options
from deepen_llm.structure.response_format import ResponseFormat
from deepen_llm.tools.definitions import Toolbox

_STOPS = ("stop", "stop_token_ids")
_AS_SCHEMA = PlainSerializer(lambda asked: asked and dict(asked.schema), when_used="json")


class GenerationOptions(Options):
    """How to generate.

    Attributes:
        max_new_tokens: The most tokens of the main model to commit.
        temperature: 0 (or less than 1e-5) is greedy; else the fused distribution is sampled.
        top_p: Sample from the likeliest tokens that together have this probability.
        top_k: Sample from this many likeliest tokens; 0 is no bound.
        min_p: Sample from tokens with at least this share of the likeliest one's probability.
        seed: Makes sampling repeat; sample ``i`` of a prompt uses ``seed + i``.
        stop: Strings before which the text ends. Where one spells a special token of the main model, such as
            ``<|im_end|>``, the text ends before that token, too.
        stop_token_ids: Tokens of the main model, by their ids, before which the text ends.
        repetition_penalty: Above 1, tokens of prompt and answer become less likely.
        token_healing: Continue a prompt that ends inside a word, or in a space, as the members would have written the
            whole: tokens that began in the prompt are weighed by Bayes' rule, and the main model then reads its own
            encoding of the text. A message that goes on is healed, too; behind a chat template, and with a
            ``response_format`` or tools, nothing is: there the answer begins a text of its own.
        n: Samples per prompt.
        logprobs: Report each token's log-probability and this many likeliest tokens beside it.
        trace: Report how each token came about.
        chat_template_kwargs: Variables for the members' chat templates, such as ``{"enable_thinking": False}``; they go
            before those that a member's own configuration sets, where a call gives them.
        response_format: What the answer must be: a pydantic model, a dataclass or another type that pydantic knows, a
            JSON schema, or ``{"type": "json_object"}``. The fused distribution is held to it token by token, and the
            answer is whole within ``max_new_tokens``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[Annotated[int, Field(ge=0)], ...] = ()
    repetition_penalty: float = Field(1.0, gt=0)
    token_healing: bool = False
    n: int = Field(1, ge=1)
    logprobs: int | None = Field(None, ge=0)
    trace: bool = False
    chat_template_kwargs: TemplateVariables = Field(default_factory=dict)
    response_format: Annotated[ResponseFormat | None, BeforeValidator(ResponseFormat.of), _AS_SCHEMA] = None

    @field_validator("stop", "stop_token_ids", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | int) else () if value is None else value

    @field_validator("stop")
    @classmethod
    def _none_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("a stop string must not be empty")
        return value

    @model_validator(mode="after")
    def _nothing_cuts_structure(self) -> Self:
        for name in _STOPS:
            if self.structured and (value := getattr(self, name)):
                raise ValueError(f"{name}={value!r} would cut a structured answer short; give {name}=() with it")
        return self

    @property
    def structured(self) -> bool:
        """Whether all of the answer has a structure of its own."""
        return self.response_format is not None

    @classmethod
    def merged(cls, standing: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
        """A call's options over standing ones, whose stops are for free text and cut no structure short.

        Args:
            standing: Options that hold for every call.
            call: Those of one call.

        Raises:
            ConfigError: An option is unknown or cannot be used.
        """
        both = {**standing, **call}
        stops = [name for name in _STOPS if name in standing and name not in call]
        if stops and cls(**{**both, **dict.fromkeys(stops, ())}).structured:
            both = {name: value for name, value in both.items() if name not in stops}
        return both


class ChatOptions(GenerationOptions):
    """How to answer a conversation.

    Attributes:
        tools: What the model may ask to be called: documented functions, pydantic models, or mappings as the APIs have
            them.
        tool_choice: ``auto`` (the model decides), ``none``, ``required`` or ``any``, or the name of the tool to call.
        parallel_tool_calls: Whether an answer may hold several calls.
        continue_final_message: Let the last message, an assistant's, go on, in place of a new one; the answer is what
            comes after it. A message with ``"prefix": True``, as Mistral has it, asks for the same.
    """

    tools: Any = None
    tool_choice: Any = "auto"
    parallel_tool_calls: bool = True
    continue_final_message: bool = False

    @cached_property
    def toolbox(self) -> Toolbox | None:
        """The tools of this request; None where none may be called."""
        return Toolbox.of(self.tools, self.tool_choice, self.parallel_tool_calls)

    @property
    def structured(self) -> bool:
        """See `GenerationOptions`."""
        return self.response_format is not None or (self.toolbox is not None and self.toolbox.choice.required)
