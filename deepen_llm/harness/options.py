"""Reads generation arguments of tasks and of ``--gen_kwargs``, with their meanings in `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from deepen_llm.engine.options import GenerationOptions
from deepen_llm.errors import ConfigError, suggestion

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_STOPS = ("until", "stop", "stop_strings")

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")
"""Arguments with the same meaning here, which greedy decoding ignores."""

_OTHER_SAMPLING = ("typical_p", "top_h", "epsilon_cutoff", "eta_cutoff")
"""Arguments that are not supported here, which greedy decoding ignores."""

_ALWAYS = tuple(name for name in ("repetition_penalty", "stop_token_ids") if name in GenerationOptions.model_fields)
"""Arguments with the same meaning here, which greedy decoding reads too."""

_NO_EFFECT = ("use_cache", "cache_implementation", "early_stopping", "length_penalty", "pad_token_id", "bos_token_id")
"""Arguments that change no answer, whatever their value: for speed, for padding, or for several beams."""

_UNDONE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences", "n", "best_of"), (1,)),
    **dict.fromkeys(("encoder_repetition_penalty", "typical_p", "guidance_scale"), (1,)),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "diversity_penalty", "penalty_alpha"), (0,)),
    **dict.fromkeys(("frequency_penalty", "presence_penalty"), (0,)),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "prompt_lookup_num_tokens"), (0,)),
    **dict.fromkeys(("min_length", "min_new_tokens", "min_tokens"), (0,)),
    **dict.fromkeys(("output_scores", "output_logits", "output_attentions", "output_hidden_states"), (False,)),
    **dict.fromkeys(("return_dict_in_generate", "renormalize_logits", "remove_invalid_values"), (False,)),
    **dict.fromkeys(("token_healing", "ignore_eos", "include_stop_str_in_output"), (False,)),
    **dict.fromkeys(("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "force_words_ids"), ([],)),
    **dict.fromkeys(("constraints", "logit_bias", "sequence_bias"), ([], {})),
    **dict.fromkeys(("top_h", "max_time", "eos_token_id", "forced_bos_token_id", "forced_eos_token_id"), ()),
    "exponential_decay_length_penalty": (),
    "skip_special_tokens": (True,),
}
"""Arguments that are not supported here, with the values at which they have no effect."""

_HINT = "take it out of the task's generation_kwargs, or overrule it with --gen_kwargs"


@dataclass(frozen=True)
class TaskOptions:
    """Generation arguments of requests, as options of `deepen_llm`.

    Attributes:
        options: How to generate.
        until: The strings before which answers end.
        seed: The seed of the first answer, one more for each further one; None for the harness's own seed.
    """

    options: GenerationOptions
    until: tuple[str, ...]
    seed: int | None = None


def read_options(given: Mapping[str, Any], max_gen_toks: int, end_of_text: str) -> TaskOptions:
    """Convert the harness's generation arguments; an argument that is None counts as not given.

    Args:
        given: The arguments, by the names that tasks, `transformers` or vLLM have for them.
        max_gen_toks: The most tokens of an answer, where the arguments set no number.
        end_of_text: What the main model ends a text with.

    Raises:
        ConfigError: An argument is unknown, has a value that cannot be used, or asks for what is not done here.
    """
    arguments = {name: value for name, value in given.items() if value is not None}
    stops = [stop for name in _STOPS for stop in _listed(arguments.pop(name, ()))]
    try:
        normal = normalize_gen_kwargs(arguments, max_gen_toks)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"generation arguments {arguments!r:.200} cannot be used: {error}", hint=_HINT) from error
    ignored = () if normal["do_sample"] else (*_SAMPLING, *_OTHER_SAMPLING)
    arguments = {name: value for name, value in arguments.items() if name not in ignored}
    _check(arguments)
    until = tuple(stop for stop in handle_stop_sequences(stops, eos=end_of_text) if stop)
    shared = {name: arguments[name] for name in (*_SAMPLING, *_ALWAYS) if name in arguments}
    if shared.get("top_k") == -1:  # no bound, as in vLLM
        shared["top_k"] = 0
    options = GenerationOptions(max_new_tokens=normal["max_gen_toks"], stop=until, **shared)
    return TaskOptions(options, until, options.seed)


def _check(arguments: Mapping[str, Any]) -> None:
    """Refuse unknown arguments, and values that are not supported."""
    read = ("do_sample", *_LENGTHS, *_SAMPLING, *_ALWAYS, *_NO_EFFECT)
    for name, value in arguments.items():
        if name == "max_length":
            raise ConfigError(
                f"generation argument max_length={value!r} counts the context too", hint="give max_gen_toks instead"
            )
        if name in read or (name in _UNDONE and value in _UNDONE[name]):
            continue
        if name not in _UNDONE:
            meant = suggestion(name, [*_STOPS, *read, *_UNDONE])
            raise ConfigError(f"unknown generation argument {name!r}{meant}", hint=_HINT)
        only = f"; only {_UNDONE[name][0]!r} can be given" if _UNDONE[name] else ""
        raise ConfigError(f"generation argument {name}={value!r} asks for what is not done here{only}", hint=_HINT)


def _listed(stops: Any) -> list[str]:
    return [stops] if isinstance(stops, str) else [stop for stop in stops if stop is not None]
