"""`tune`: from members and a development set to an ensemble, or to the advice to use none."""

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
from deepen_llm.tuning.journal import Journal, locked
from deepen_llm.tuning.lengths import check_lengths
from deepen_llm.tuning.metrics import Measure, Metric
from deepen_llm.tuning.recording import recorded
from deepen_llm.tuning.result import Tuning
from deepen_llm.tuning.space import Candidate, SearchSpace
from deepen_llm.tuning.sweeps import sweep
from deepen_llm.tuning.tuner import Progress, Tuner

_TOLD = ("eos_policy", "generation")  # settings that scores depend on, beside the candidates' own


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
    """Choose members, main model, fusion, weights and gate on a development set, and tell whether fusing pays.

    Each member is scored alone; members are added best first, but for those who do not help; Optuna searches the
    settings of the rest; what was found is judged on examples that were held out. Each text is read once: the
    members' logits are kept in ``folder``, and trying a setting costs the fused step only. The ensemble
    stays as it is.

    Args:
        llm: An ensemble of the members to choose from.
        dataset: A file of JSON lines, or examples: ``prompt`` or ``messages``, with ``references``, or with
            ``choices`` and ``answer``.
        metric: ``exact_match`` (the default), ``contains`` or ``f1`` for references, ``accuracy`` (the default) or
            ``accuracy_per_byte`` for choices; or a function of an answer and its `Example`, from 0 to 1.
        search_space: What to choose from: a `SearchSpace` or its fields.
        trials: How many settings the search tries.
        held_out: The share of examples that only judge.
        chat: Read each ``prompt`` as a user's message, through the members' chat templates.
        skip_too_long: Leave out examples that are too long for a member's context window, rather than to refuse
            them; ``left_out`` of what was found tells which.
        sweeps: Score single options around the best ensemble too, for pictures.
        folder: Where to keep what was computed: called again with the same folder, an interrupted tuning goes on
            where it was. None for a temporary one.
        seed: Equal seeds give equal results.
        progress: Called with how far it has come.

    Returns:
        What was found; its ``llm`` is what to use, and ``save_config`` writes that.

    Raises:
        DatasetError: The examples cannot be read, cannot tell anything, or are too long for a member; this is told
            before anything is decoded.
        ConfigError: An argument cannot be used, or the folder holds another tuning.
    """
    _check(llm, trials, held_out)
    examples = read_examples(dataset, chat=chat)
    check_set(examples)
    require("optuna", "tune")  # rather than after the first hour
    measure = Measure.of(metric, examples)
    variables = llm.settings.generation.chat_template_kwargs
    examples = check_lengths(llm.members, examples, variables=variables, skip_too_long=skip_too_long)
    check_set(examples)
    space = search_space if isinstance(search_space, SearchSpace) else SearchSpace(**search_space or {})
    common = {name: getattr(llm.settings, name) for name in (*_TOLD, "batch_size")} | {"fusion": _standing(llm)}
    with _kept(folder) as place, locked(place), recorded(llm.members, place) as members:
        journal = Journal(place, _about(llm, examples, measure, common, held_out, seed))
        options: dict[str, Any] = {"trials": trials, "held_out": held_out, "seed": seed, "journal": journal}
        tuner = Tuner(members, examples, measure, space, common, **options, tell=progress)
        return replace(_found(llm, tuner, measure, sweeps), left_out=examples.left_out)


def _found(llm: EnsembleLLM, tuner: Tuner, measure: Measure, sweeps: bool) -> Tuning:
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
        chosen_on=len(tuner.parts["search"]),
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
    return llm.subset(candidate.members, **candidate.within({"fusion": _standing(llm)}))


def _standing(llm: EnsembleLLM) -> dict[str, Any]:
    """The options of the ensemble's own fusion method that no candidate changes."""
    fusion = llm.settings.fusion
    return {name: value for name, value in fusion if name in fusion.untuned}


def _check(llm: EnsembleLLM, trials: int, held_out: float) -> None:
    if len(llm.members) < 2:
        raise ConfigError("one member: there is nothing to fuse", hint="give two members or more")
    if away := [one.name for one in llm.members if isinstance(one, LocalMember) and _is_offloaded(one)]:
        raise ConfigError(
            f"weights of member {away[0]} are offloaded, so that nothing tells it from others",
            hint="tune members that fit into memory",
        )
    if trials < 1:
        raise ConfigError(f"trials={trials}", hint="give one trial or more; the default is 60")
    if not 0.1 <= held_out <= 0.9:
        raise ConfigError(f"held_out={held_out} is no share to hold out", hint="give one from 0.1 to 0.9, such as 0.33")


def _is_offloaded(member: LocalMember) -> bool:
    return any(weights.is_meta for weights in member.model.parameters())


@contextmanager
def _kept(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="deepen-tune-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def _about(
    llm: EnsembleLLM, examples: list[Example], measure: Measure, common: Mapping[str, Any], held_out: float, seed: int
) -> dict[str, Any]:
    """What scores depend on beside the settings."""
    asked = repr([example.model_dump() for example in examples]).encode()
    return {
        "members": [
            [member.vocabulary.fingerprint, fingerprints.of_model(member.model), dict(member.chat_template_kwargs)]
            for member in llm.members
            if isinstance(member, LocalMember)
        ],
        "examples": blake2b(asked, digest_size=16).hexdigest(),
        "metric": measure.identity,
        "options": {"held_out": held_out, "seed": seed, **{name: repr(common[name]) for name in (*_TOLD, "fusion")}},
    }
