"""The model ``deepen`` of lm-evaluation-harness."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, simple_parse_args_string
from tqdm import tqdm
from typing_extensions import Self

from deepen_llm.engine.answer import Answer
from deepen_llm.engine.scoring import Continuation, score
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.engine.stops import Stops
from deepen_llm.harness.arguments import load_ensemble
from deepen_llm.harness.conversation import Conversation
from deepen_llm.harness.options import TaskOptions, read_options
from deepen_llm.harness.reading import Reading
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Message
from deepen_llm.requests.run import Run

_OWN = ("batch_size", "max_batch_size", "max_gen_toks", "max_length")
_BATCHES_PER_SAVE = 8  # answers go into the harness's cache after this many batches

Pair = tuple[tuple[str, str], list[int], list[int]]
"""A context and a continuation, and the main-model token ids of each."""


class _Prepared(NamedTuple):
    """A request to answer: its context, its options, and its number among the requests with equal options."""

    context: str
    task: TaskOptions
    number: int


class DeepenLM(TemplateLM):
    """An ensemble as a model of the harness; the base class encodes pairs, as for ``hf``.

    An ensemble of one member gives the results of ``hf`` with that model.

    Args:
        ensemble: The ensemble.
        batch_size: The most texts at a time, or ``auto``: as many as memory allows.
        max_batch_size: The most texts at a time under ``auto``.
        max_gen_toks: The most tokens of an answer, where a task sets no number.
        max_length: The most tokens that any member reads of a text; by default its context length.

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
        self._ensemble = ensemble.ensemble
        self._engine = SharedEngine(self._ensemble, self.batch_size)
        self._reading = Reading(self._ensemble, max_length)
        self.tokenizer = self._reading.main.tokenizer

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Mapping[str, Any] | None = None) -> Self:
        """Make the model from a string of ``--model_args``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """Make the model from parsed ``--model_args``.

        Args:
            arg_dict: ``config`` (a file), or ``members`` (paths or hub ids, ``+`` between them) with what
                `EnsembleLLM.from_pretrained` takes; and this class's own arguments.
            additional_config: Arguments that the harness adds. Its device is ignored: it is ``cuda:0`` by default.

        Raises:
            ConfigError: An argument is unknown or missing, or cannot be used.
            LoadError: A member cannot be loaded.
        """
        added = {name: value for name, value in (additional_config or {}).items() if value is not None}
        arguments = {name: value for name, value in {**arg_dict, **added}.items() if name in _OWN}
        ensemble = load_ensemble({name: value for name, value in arg_dict.items() if name not in _OWN})
        cls.on_loaded(ensemble)
        return cls(ensemble, **arguments)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text of the main model."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without a context."""
        return self._reading.prefix_token_id

    @property
    def max_length(self) -> int:
        """The most tokens that the main model reads of a text."""
        return self._reading.max_length

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name in the harness's cache of requests, whose strings are the same for all members."""
        return "deepen"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The main model's token ids of a text."""
        return self._reading.encode(string, add_special_tokens)

    def apply_chat_template(self, chat_history: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """Represent messages as a string, which each member later renders with its own template."""
        variables = self.ensemble.settings.generation.chat_template_kwargs
        return str(Conversation(list(chat_history), add_generation_prompt, variables))

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The members' templates, for the harness's record."""
        return "\n\n".join(str(member.tokenizer.chat_template) for member in self._reading.members)

    def get_model_info(self) -> dict[str, Any]:
        """Information for the harness's results file."""
        settings = self.ensemble.settings.model_dump(mode="json", include={"main_model", "weights", "fusion"})
        return {"model_members": [member.name for member in self.ensemble.members], **settings}

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        ids: tuple[list[int], list[int]] = super()._encode_pair(self._reading.as_main(context), continuation)
        return ids

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        continuations = self._reading.continuations([(context, ids, tokens) for (context, _), ids, tokens in requests])
        results: dict[int, tuple[float, bool]] = {}
        with tqdm(total=len(continuations), disable=disable_tqdm, desc="Running loglikelihood requests") as bar:
            for index, scored in score(self._engine, continuations):
                results[index] = (scored.total, scored.is_greedy)
                self.cache_hook.add_partial("loglikelihood", requests[index][0], results[index])
                bar.update()
        return [results[index] for index in range(len(continuations))]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in nats, window by window."""
        of_texts = [self._windows(text) for (text,) in (request.args for request in requests)]
        text_of = [text for text, windows in enumerate(of_texts) for _ in windows]
        left, totals = [len(windows) for windows in of_texts], [0.0] * len(of_texts)
        with tqdm(total=len(text_of), disable=disable_tqdm, desc="Running loglikelihood_rolling requests") as bar:
            all_windows = [window for windows in of_texts for window in windows]
            for index, scored in score(self._engine, all_windows):
                text = text_of[index]
                totals[text] += scored.total
                left[text] -= 1
                if not left[text]:
                    self.cache_hook.add_partial("loglikelihood_rolling", requests[text].args, totals[text])
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
            ConfigError: An argument of any request cannot be used; no request is decoded then.
        """
        prepared = self._prepared([request.args for request in requests])
        portion, answers = _BATCHES_PER_SAVE * self.batch_size, list[str]()
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Running generate_until requests") as bar:
            for start in range(0, len(requests), portion):
                answers += self._answers(prepared[start : start + portion])
                for request, answer in zip(requests[start : start + portion], answers[start:], strict=True):
                    self.cache_hook.add_partial("generate_until", request.args, answer)
                    bar.update()
        return answers

    def _prepared(self, arguments: Sequence[tuple[str, Mapping[str, Any]]]) -> list[_Prepared]:
        """Contexts with their options; those with equal options get different seeds, as contexts may be equal."""
        end_of_text = self.tokenizer.decode([self.eot_token_id])
        read: dict[str, TaskOptions] = {}
        counts, prepared = Counter[str](), list[_Prepared]()
        for context, given in arguments:
            key = json.dumps(given, sort_keys=True, default=str)
            if key not in read:
                read[key] = read_options(given, self.max_gen_toks, end_of_text)
            prepared.append(_Prepared(context, read[key], counts[key]))
            counts[key] += 1
        return prepared

    def _answers(self, prepared: Sequence[_Prepared]) -> list[str]:
        """Decode requests together, each with its own options."""
        requests = [self._request(*of_request) for of_request in prepared]
        Run(self._engine, requests).finish()
        return [
            self._text(request.sequences[0].tokens, of_request.task)
            for request, of_request in zip(requests, prepared, strict=True)
        ]

    def _request(self, context: str, task: TaskOptions, number: int) -> Request[Answer]:
        vocabulary = self._ensemble.vocabulary
        seed = int(torch.randint(2**62, ())) if task.seed is None else task.seed + number
        generator = torch.Generator().manual_seed(seed)
        prompt = self._reading.prompt(context, task.options.max_new_tokens)
        answer = Answer(
            vocabulary,
            task.options,
            generator,
            stops=Stops.of(task.options, vocabulary),
            prompt_ids=prompt[self._ensemble.main].ids,
        )
        return Request(prompt, [answer], task.options)

    def _text(self, tokens: Sequence[int], task: TaskOptions) -> str:
        """An answer as ``hf`` gives it: decoded without special tokens, and cut before the task's stop strings."""
        spellings, ids = self._ensemble.vocabulary.spellings, task.options.stop_token_ids
        ends = (i for i, token in enumerate(tokens) if token in ids or spellings.get(token) in task.until)
        decoded = self.tokenizer.decode(tokens[: next(ends, len(tokens))], skip_special_tokens=True)
        return str(postprocess_generated_text(decoded, list(task.until), None))


register_model("deepen")(DeepenLM)
