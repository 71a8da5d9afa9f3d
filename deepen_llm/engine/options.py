"""Generation options."""

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
_AS_SCHEMA = PlainSerializer(lambda response_format: response_format and dict(response_format.schema), when_used="json")


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
            encoding of the text. A last message that is continued is healed, too. Other answers to a conversation, and
            those with a ``response_format`` or tools, begin a text of their own, and are not.
        n: Samples per prompt.
        logprobs: Report each token's log-probability, with those of this many likeliest tokens.
        trace: Report each step's distributions, and why its token was chosen.
        chat_template_kwargs: Variables for the members' chat templates, such as ``{"enable_thinking": False}``. Those
            of a call override those of a member's configuration, which override the ensemble's defaults.
        response_format: The structure of the answer: a pydantic model, a dataclass or another type that pydantic knows,
            a JSON schema, or ``{"type": "json_object"}``. Only tokens that the structure allows are chosen, and the
            answer is complete within ``max_new_tokens``.
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
    def _as_tuple(cls, value: Any) -> Any:
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
        """Whether the whole answer has a structure."""
        return self.response_format is not None

    @classmethod
    def merged(cls, defaults: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a call, with defaults for those that it does not set.

        Default stops are left out where the answer has a structure.

        Args:
            defaults: The ensemble's default options.
            call: The options of one call.

        Raises:
            ConfigError: An option is unknown or cannot be used.
        """
        both = {**defaults, **call}
        stops = [name for name in _STOPS if name in defaults and name not in call]
        if stops and cls(**{**both, **dict.fromkeys(stops, ())}).structured:
            both = {name: value for name, value in both.items() if name not in stops}
        return both


class ChatOptions(GenerationOptions):
    """Generation options for the answer to a conversation.

    Attributes:
        tools: The tools that the model may call: documented functions, pydantic models, or mappings as in the APIs of
            OpenAI and others.
        tool_choice: ``auto`` (the model decides), ``none``, ``required`` or ``any``, or the name of the tool to call.
        parallel_tool_calls: Whether an answer may hold several calls.
        continue_final_message: Continue the last message, an assistant's, in place of beginning a new one; the answer
            is the text after it. A last message with ``"prefix": True``, as in Mistral's API, has the same effect.
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
