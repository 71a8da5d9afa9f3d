"""The model ``deepen`` of lm-evaluation-harness."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, simple_parse_args_string
from tqdm import tqdm
from typing_extensions import Self

from deepen_llm.engine.scoring import Continuation, score
from deepen_llm.engine.sequence import Request, Row
from deepen_llm.engine.stops import Stops
from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.harness.conversation import Conversation
from deepen_llm.harness.options import Asked, read_options
from deepen_llm.harness.reading import Reading
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Message
from deepen_llm.requests.run import Run

_OWN = ("batch_size", "max_batch_size", "max_gen_toks", "max_length")
_KEPT_AFTER = 8  # batches of answers after which they are in the harness's cache

Pair = tuple[tuple[str, str], list[int], list[int]]
"""A context and a continuation, and the main-model token ids of each."""


class DeepenLM(TemplateLM):
    """An ensemble as the harness knows models; how a pair is encoded is inherited from the ``hf`` model's own base.

    With one member, it gives that model's numbers.

    Args:
        ensemble: The ensemble.
        batch_size: The most texts at a time, or ``auto``: as many as memory allows.
        max_batch_size: The most texts at a time under ``auto``.
        max_gen_toks: The most tokens of an answer, where a task does not say.
        max_length: The most tokens that any member reads of a text; by default as many as it can.

    Attributes:
        on_loaded: Called with each ensemble that is loaded for ``--model_args``.

    Raises:
        ConfigError: A setting cannot be used.
    """

    on_loaded: ClassVar[Callable[[EnsembleLLM], None]] = staticmethod(lambda _: None)

    def __init__(
        self,
        ensemble: EnsembleLLM,
        batch_size: int | str = 1,
        max_batch_size: int | None = 64,
        max_gen_toks: int = 256,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        self.ensemble, self.max_gen_toks = ensemble, max_gen_toks
        self.batch_size = (max_batch_size or 64) if str(batch_size).startswith("auto") else int(batch_size)
        self._parts = ensemble.ensemble
        self._reading = Reading(self._parts, max_length)
        self.tokenizer = self._reading.main.tokenizer

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Mapping[str, Any] | None = None) -> Self:
        """Make the model of ``--model_args``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """Make the model of ``--model_args``.

        Args:
            arg_dict: ``config`` (a file), or ``members`` (paths or hub ids, ``+`` between them) with what
                `EnsembleLLM.from_pretrained` takes; and this class's own arguments.
            additional_config: What the harness adds. Its device is not obeyed: it says ``cuda:0`` where nobody chose.

        Raises:
            ConfigError: An argument is unknown or missing, or cannot be used.
            LoadError: A member cannot be loaded.
        """
        added = {name: value for name, value in (additional_config or {}).items() if value is not None}
        own = {name: value for name, value in {**arg_dict, **added}.items() if name in _OWN}
        ensemble = _loaded({name: value for name, value in arg_dict.items() if name not in _OWN})
        cls.on_loaded(ensemble)
        return cls(ensemble, **own)

    @property
    def eot_token_id(self) -> int:
        """What ends a text of the main model's."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context."""
        return self._reading.prefix_token_id

    @property
    def max_length(self) -> int:
        """Tokens that the main model reads."""
        return self._reading.max_length

    @property
    def tokenizer_name(self) -> str:
        """A name for the harness's cache of requests, which hold no member's own encoding."""
        return "deepen"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The main model's token ids of a text."""
        return self._reading.encode(string, add_special_tokens)

    def apply_chat_template(self, chat_history: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The messages as a string, for each member to put through its own template later."""
        variables = self.ensemble.settings.generation.chat_template_kwargs
        return str(Conversation(list(chat_history), add_generation_prompt, variables))

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The members' templates, for the harness's record."""
        return "\n\n".join(str(member.tokenizer.chat_template) for member in self._reading.members)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside the results."""
        settings = self.ensemble.settings.model_dump(mode="json", include={"main_model", "weights", "fusion"})
        return {"model_members": [member.name for member in self.ensemble.members], **settings}

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        ids: tuple[list[int], list[int]] = super()._encode_pair(self._reading.as_main(context), continuation)
        return ids

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        asked = self._reading.continuations([(context, ids, tokens) for (context, _), ids, tokens in requests])
        found: dict[int, tuple[float, bool]] = {}
        with tqdm(total=len(asked), disable=disable_tqdm, desc="Running loglikelihood requests") as bar:
            for place, one in score(self._parts, asked, self.batch_size):
                found[place] = (one.total, one.is_greedy)
                self.cache_hook.add_partial("loglikelihood", requests[place][0], found[place])
                bar.update()
        return [found[place] for place in range(len(asked))]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in nats, window by window."""
        windows = [self._windows(text) for (text,) in (request.args for request in requests)]
        owners = [place for place, own in enumerate(windows) for _ in own]
        left, totals = [len(own) for own in windows], [0.0] * len(windows)
        with tqdm(total=len(owners), disable=disable_tqdm, desc="Running loglikelihood_rolling requests") as bar:
            for place, one in score(self._parts, [window for own in windows for window in own], self.batch_size):
                owner = owners[place]
                totals[owner] += one.total
                left[owner] -= 1
                if not left[owner]:
                    self.cache_hook.add_partial("loglikelihood_rolling", requests[owner].args, totals[owner])
                bar.update()
        return totals

    def _windows(self, text: str) -> list[Continuation]:
        """A text in windows of the main model's; shorter ones where another member cannot read so much of it."""
        ids, length = self.tok_encode(text), self.max_length
        while True:
            rolling = get_rolling_token_windows(ids, self.prefix_token_id, length, context_len=1)
            windows = [self._reading.window(*make_disjoint_window(window)) for window in rolling]
            fitting = [window for window in windows if window is not None]
            if len(fitting) == len(windows):
                return fitting
            length //= 2

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers, each ended before the first of its task's stop strings.

        Raises:
            ConfigError: An argument of any request cannot be used; this is told before anything is decoded.
        """
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True, default=str), []).append(place)
        asked = {key: self._asked(requests[group[0]].args[1]) for key, group in groups.items()}
        portion, found = _KEPT_AFTER * self.batch_size, dict[int, str]()
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Running generate_until requests") as bar:
            for key, group in groups.items():
                for start in range(0, len(group), portion):
                    places = group[start : start + portion]
                    contexts = [requests[place].args[0] for place in places]
                    found |= zip(places, self._answers(contexts, asked[key], start), strict=True)
                    for place in places:
                        self.cache_hook.add_partial("generate_until", requests[place].args, found[place])
                    bar.update(len(places))
        return [found[place] for place in range(len(requests))]

    def _asked(self, given: Mapping[str, Any]) -> Asked:
        return read_options(given, self.max_gen_toks, self.tokenizer.decode([self.eot_token_id]))

    def _answers(self, contexts: Sequence[str], asked: Asked, first: int) -> list[str]:
        """Answers to some of the requests that ask for the same, the first of which is the ``first`` of them."""
        options, vocabulary, requests = asked.options, self._parts.main_model.vocabulary, []
        stops = Stops.of(options, vocabulary)
        for place, context in enumerate(contexts, first):
            # Another seed for each request, as several may be one and the same.
            seed = int(torch.randint(2**62, ())) if asked.seed is None else asked.seed + place
            generator = torch.Generator().manual_seed(seed)
            prompt = self._reading.prompt(context, options.max_new_tokens)
            requests.append(Request(prompt, [Row(vocabulary, options, generator, stops=stops)]))
        Run(self._parts, requests, options, self.batch_size).finish()
        return [self._text(request.rows[0].tokens, asked) for request in requests]

    def _text(self, tokens: Sequence[int], asked: Asked) -> str:
        """An answer as ``hf`` tells it: decoded without special tokens, and ended before what it was to end at."""
        spellings, ids = self._parts.main_model.vocabulary.spellings, asked.options.stop_token_ids
        ends = (i for i, token in enumerate(tokens) if token in ids or spellings.get(token) in asked.until)
        decoded = self.tokenizer.decode(tokens[: next(ends, len(tokens))], skip_special_tokens=True)
        return str(postprocess_generated_text(decoded, list(asked.until), None))


def _loaded(given: Mapping[str, Any]) -> EnsembleLLM:
    """The ensemble that ``--model_args`` ask for."""
    rest = {name: value for name, value in given.items() if name not in {"config", "members", "weights"}}
    known = inspect.signature(EnsembleLLM.from_pretrained).parameters
    if unknown := sorted(set(rest) - set(known)):
        raise ConfigError(
            f"model_args has an unknown {unknown[0]!r}{suggestion(unknown[0], known)}",
            hint="give config=ensemble.yaml, or members=one+other with what EnsembleLLM.from_pretrained takes",
        )
    if ("config" in given) == ("members" in given):
        raise ConfigError(
            "model_args needs either config or members",
            hint="give --model_args config=ensemble.yaml, or members=one+other",
        )
    if "config" in given:
        if rest or "weights" in given:
            raise ConfigError(
                f"model_args has {', '.join(sorted(set(given) - {'config'}))} beside config={given['config']}",
                hint="set them in the file, which says everything itself",
            )
        return EnsembleLLM.from_config(given["config"])
    members, weights = given["members"], _weights(given.get("weights"))
    return EnsembleLLM.from_pretrained(
        members.split("+") if isinstance(members, str) else members, weights=weights, **rest
    )


def _weights(given: Any) -> Any:
    """Numbers of which ``--model_args`` make one or a text, or else what was given: a name, or a list."""
    try:
        return [float(one) for one in str(given).split("+")]
    except ValueError:
        return given


register_model("deepen")(DeepenLM)
