"""The entry point of tuning."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from deepen_llm.errors import ConfigError
from deepen_llm.extras import require
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember
from deepen_llm.storage import fingerprints
from deepen_llm.tuning.dataset import Dataset, Example, check_set, read_examples
from deepen_llm.tuning.evaluator import Evaluator, split
from deepen_llm.tuning.journal import Journal, locked
from deepen_llm.tuning.lengths import check_lengths
from deepen_llm.tuning.metrics import Measure, Metric
from deepen_llm.tuning.recording import recorded
from deepen_llm.tuning.result import Tuning
from deepen_llm.tuning.space import Candidate, SearchSpace
from deepen_llm.tuning.sweeps import sweep
from deepen_llm.tuning.tuner import Progress, Tuner

_SETTINGS = ("eos_policy", "generation")  # settings of the ensemble that scores depend on, too


def tune(
    llm: EnsembleLLM,
    dataset: Dataset,
    *,
    metric: str | Metric | None = None,
    search_space: SearchSpace | Mapping[str, Any] | None = None,
    trials: int = 60,
    held_out: float = 1 / 3,
    chat: bool = False,
    skip_too_long: bool = False,
    sweeps: bool = False,
    folder: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Tuning:
    """Choose members, main model, fusion, weights and gate on a development set, and estimate whether fusing helps.

    Each member is scored alone; members are added best first, except for those that do not help; Optuna searches the
    settings of the rest; the result is judged on held-out examples. Members' logits are recorded in ``folder``, so that
    a trial costs the fusion only. The ensemble itself is not changed.

    Args:
        llm: An ensemble of the members to choose from.
        dataset: A file of JSON lines, or examples: ``prompt`` or ``messages``, with ``references``, or with
            ``choices`` and ``answer``.
        metric: ``exact_match`` (the default), ``contains`` or ``f1`` for references, ``accuracy`` (the default) or
            ``accuracy_per_byte`` for choices; or a function of an answer and its `Example`, from 0 to 1.
        search_space: The settings to choose from: a `SearchSpace` or its fields.
        trials: The number of settings that the search tries.
        held_out: The share of examples that only judge the result.
        chat: Whether each ``prompt`` becomes a user's message for the members' chat templates.
        skip_too_long: Whether to leave out examples that are too long for a member's context window, instead of
            raising; ``left_out`` of the result lists them.
        sweeps: Whether to score single options around the best ensemble, for pictures.
        folder: The folder of scores and logits; a call with the folder of an interrupted tuning resumes it. None
            for a temporary one.
        seed: Equal seeds give equal results.
        progress: Called before each trial.

    Returns:
        The result; its ``llm`` is the ensemble to use, and ``save_config`` writes it.

    Raises:
        DatasetError: The examples cannot be read, are too few or have one answer, or are too long for a member;
            checked before anything is decoded.
        ConfigError: An argument is invalid, or the folder has another tuning.
    """
    _check(llm, trials, held_out)
    examples = read_examples(dataset, chat=chat)
    check_set(examples)
    require("optuna", "tune")  # fail early
    measure = Measure.of(metric, examples)
    variables = llm.settings.generation.chat_template_kwargs
    examples = check_lengths(llm.members, examples, variables=variables, skip_too_long=skip_too_long)
    check_set(examples)
    space = search_space if isinstance(search_space, SearchSpace) else SearchSpace(**search_space or {})
    common = {name: getattr(llm.settings, name) for name in (*_SETTINGS, "batch_size")} | {
        "fusion": _fixed_options(llm)
    }
    with _storage(folder) as path, locked(path), recorded(llm.members, path) as members:
        journal = Journal(path, _about(llm, examples, measure, common, held_out, seed))
        evaluator = Evaluator(members, common, measure, split(examples, held_out, seed), journal)
        tuner = Tuner(evaluator, space, trials=trials, seed=seed, on_progress=progress)
        return replace(_result(llm, tuner, measure, sweeps), left_out=examples.left_out)


def _result(llm: EnsembleLLM, tuner: Tuner, measure: Measure, sweeps: bool) -> Tuning:
    alone = tuner.alone()
    growth, kept = tuner.grow(alone)
    single = growth[0].candidate
    best = tuner.search(kept.members, alone, kept)
    estimate, verdict = tuner.judge(best.candidate, single)
    return Tuning(
        llm=_loaded(llm, single if verdict == "alone" else best.candidate),
        verdict=verdict,
        estimate=estimate,
        names=tuple(member.name for member in llm.members),
        metric=measure.name,
        chosen_on=len(tuner.evaluator.parts["search"]),
        single=single.main,
        alone=tuple(alone),
        growth=tuple(growth),
        trials=tuple(tuner.tried),
        best=best,
        unusable=tuple(dict.fromkeys(tuner.unusable)),
        sweeps=sweep(tuner, best.candidate) if sweeps else None,
    )


def _loaded(llm: EnsembleLLM, candidate: Candidate) -> EnsembleLLM:
    """The candidate's ensemble of the members as they were loaded, all else as it was."""
    return llm.subset(candidate.members, **candidate.within({"fusion": _fixed_options(llm)}))


def _fixed_options(llm: EnsembleLLM) -> dict[str, Any]:
    """The options of the ensemble's own fusion method that no candidate changes."""
    fusion = llm.settings.fusion
    return {name: value for name, value in fusion if name in fusion.untuned}


def _check(llm: EnsembleLLM, trials: int, held_out: float) -> None:
    if len(llm.members) < 2:
        raise ConfigError("expected at least two members to fuse, got one", hint="give two members or more")
    if offloaded := [
        member.name for member in llm.members if isinstance(member, LocalMember) and _is_offloaded(member)
    ]:
        raise ConfigError(
            f"expected members in memory, got member {offloaded[0]} with offloaded weights",
            hint="tune members that fit into memory",
        )
    if trials < 1:
        raise ConfigError(f"expected at least one trial, got trials={trials}", hint="the default is 60")
    if not 0.1 <= held_out <= 0.9:
        raise ConfigError(f"expected held_out from 0.1 to 0.9, got {held_out}", hint="give a share such as 0.33")


def _is_offloaded(member: LocalMember) -> bool:
    return any(weights.is_meta for weights in member.model.parameters())


@contextmanager
def _storage(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="deepen-tune-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _about(
    llm: EnsembleLLM, examples: list[Example], measure: Measure, common: Mapping[str, Any], held_out: float, seed: int
) -> dict[str, Any]:
    """What scores depend on besides the candidates' settings."""
    content = repr([example.model_dump() for example in examples]).encode()
    return {
        "members": [
            [member.vocabulary.fingerprint, fingerprints.of_model(member.model), dict(member.chat_template_kwargs)]
            for member in llm.members
            if isinstance(member, LocalMember)
        ],
        "examples": blake2b(content, digest_size=16).hexdigest(),
        "metric": measure.identity,
        "options": {
            "held_out": held_out,
            "seed": seed,
            **{name: repr(common[name]) for name in (*_SETTINGS, "fusion")},
        },
    }
