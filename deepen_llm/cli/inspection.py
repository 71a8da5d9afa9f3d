"""``deepen inspect``: what the members are, how far they speak of the same things, and whether they fit together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepen_llm.cli.options import Members, takes
from deepen_llm.cli.terminal import errors, note, quiet_libraries, write
from deepen_llm.cli.threads import run_small_on_one_thread
from deepen_llm.errors import ConfigError

if TYPE_CHECKING:
    from deepen_llm.comparison import Comparison
    from deepen_llm.config import EnsembleConfig
    from deepen_llm.members.local import LocalMember
    from deepen_llm.tuning.dataset import Example, Examples


@takes(Members)
def inspect(
    given: Members,
    sample: Annotated[int, typer.Option(min=2, help="The most anchors from which agreement is measured.")] = 512,
    score: Annotated[
        list[str] | None,
        typer.Option(help="NAME=0.61: a member's share of right answers alone, for the verdict; one per member."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="JSON lines as deepen tune reads them: measure each member alone on them, for the verdict."),
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Read each prompt of the dataset as a user's message.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw pictures: into this folder, or on one page in a .png, .svg or .pdf file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")] = False,
) -> None:
    """Show members, the anchors they share, how alike they see these anchors, and how well they fit together.

    Without --member and --config, the bundled specialists.
    """
    scores = _scores(score or [])
    with errors.status("Starting..."):
        from deepen_llm import specialists
        from deepen_llm.comparison import compare
        from deepen_llm.members.loading import load_members
        from deepen_llm.tuning.lengths import check_lengths

    if not given.member and given.config is None:
        given = replace(given, member=[str(path) for path in specialists.paths()])
    configuration = given.configuration()
    if score and dataset:
        raise typer.BadParameter("give either --score or --dataset")
    examples = _examples(dataset, chat) if dataset else None
    if plot:
        _require_plot(plot, len(configuration.members))
    quiet_libraries()
    with errors.status(f"Loading {len(configuration.members)} members..."):
        members = load_members(configuration.members)
    run_small_on_one_thread(members)
    if score and (missing := [one.name for one in members if one.name not in scores]):
        raise typer.BadParameter(f"no score of {', '.join(missing)}", param_hint="--score")
    if examples:
        examples = check_lengths(members, examples, variables=configuration.generation.chat_template_kwargs)
        with errors.status(f"Asking each member {len(examples)} examples..."):
            scores = _measured(members, examples, configuration)
    with errors.status("Comparing anchors..."):
        comparisons = compare(members, sample=sample, scores=scores)
    if plot:
        with errors.status("Drawing..."):
            _draw(members, comparisons, sample, plot)
    if as_json:
        from deepen_llm.cli.records import finite

        record = {"members": [describe(one) for one in members], "anchors": [one.record() for one in comparisons]}
        write(json.dumps(finite(record), allow_nan=False) + "\n")
    else:
        from deepen_llm.cli.inspection_tables import show

        show([describe(one) for one in members], comparisons)


def _scores(said: Sequence[str]) -> dict[str, float]:
    scores = {}
    for one in said:
        name, _, value = one.rpartition("=")
        try:
            scores[name] = float(value)
            if not 0 <= scores[name] <= 1:
                raise ValueError
        except ValueError:
            raise typer.BadParameter(
                f"{one!r} is no NAME=SCORE with a share from 0 to 1, such as gpt2=0.61", param_hint="--score"
            ) from None
    return scores


def _examples(dataset: Path, chat: bool) -> Examples:
    """Read examples before models are loaded."""
    from deepen_llm.tuning.dataset import read_examples

    return read_examples(dataset, chat=chat)


def _measured(
    members: Sequence[LocalMember], examples: Sequence[Example], configuration: EnsembleConfig
) -> dict[str, float]:
    """Each member's mean score alone, by its name, generated as the configuration says."""
    from deepen_llm.ensemble import EnsembleLLM
    from deepen_llm.prompts import read_by
    from deepen_llm.tuning.metrics import Measure
    from deepen_llm.tuning.scoring import scores

    measure, size = Measure.of(None, examples), configuration.batch_size
    alone = {
        one.name: EnsembleLLM([one], batch_size=size, generation=read_by(configuration.generation, [one]))
        for one in members
    }
    return {name: fmean(scores(llm, examples, measure)) for name, llm in alone.items()}


def _require_plot(where: Path, members: int) -> None:
    """Find what stands in the way of pictures before models are loaded."""
    from deepen_llm import pictures

    if where.suffix:
        pictures.require_ending(where)
    if members < 2:
        raise ConfigError("--plot compares members, and there is one", hint="give two members or more")


def _draw(members: Sequence[LocalMember], comparisons: Sequence[Comparison], sample: int, where: Path) -> None:
    """Write the pictures of some members into a folder, or onto one page."""
    from deepen_llm import pictures
    from deepen_llm.fusion.agreement import CALIBRATED, PAPER, self_masses

    projection = pictures.project(members)
    spaces = {"paper": PAPER, "calibrated": CALIBRATED}
    masses = {name: self_masses(members, space, sample=sample) for name, space in spaces.items()}
    if where.suffix:
        found = {where: pictures.draw_overview(projection, comparisons, masses)}
    else:
        found = {
            where / "representations.png": pictures.draw_representations(projection),
            where / "consistency.png": pictures.draw_consistency(comparisons),
            where / "self-mass.png": pictures.draw_self_mass(masses, projection.members),
        }
    for file, picture in found.items():
        pictures.save(picture, file)
        note(f"drawn: {file}")


def describe(member: LocalMember) -> dict[str, Any]:
    """A member's plain facts."""
    from deepen_llm.vocabulary.kinds import find_kind

    vocabulary = member.vocabulary
    return {
        "name": member.name,
        "architecture": type(member.model).__name__,
        "parameters": sum(parameter.numel() for parameter in member.model.parameters()),
        "dtype": str(member.model.dtype).removeprefix("torch."),
        "vocabulary": vocabulary.tokenizer_size,
        "logits": vocabulary.size,
        "tokenizer": find_kind(member.tokenizer).name,
        "end_of_text": [
            {"id": id_, "token": member.tokenizer.convert_ids_to_tokens(id_)} for id_ in vocabulary.end_of_text
        ],
        "context_length": member.context_length,
        "chat_template": bool(member.tokenizer.chat_template),
    }
