"""Tuning: who helps is kept, who does not is left out, and nothing that was computed is lost."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import Bayes
from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.specialists import Question
from deepen_llm.tuning import Tuning
from deepen_llm.tuning.dataset import read_examples
from deepen_llm.tuning.intervals import score_interval
from deepen_llm.tuning.journal import locked
from deepen_llm.tuning.metrics import Measure
from deepen_llm.tuning.scoring import scores
from deepen_llm.tuning.tune import tune
from deepen_llm.tuning.tuner import Progress
from tests.models import random_model

SPACE: dict[str, Any] = {  # one method with one way to begin, since what is tried of others is `SearchSpace`'s matter
    "methods": ["exact"],
    "weights": ["avg", "adapt"],
    "gates": ["always"],
    "anchor_choice": ["all"],
}
BAYES: dict[str, Any] = {**SPACE, "methods": ["bayes"]}
OPTIONS: dict[str, Any] = {"batch_size": 60, "generation": {"max_new_tokens": 8}}


@cache
def members() -> tuple[Member, ...]:
    return EnsembleLLM.from_pretrained(specialists.paths(), device="cpu").members


def asked(subjects: Sequence[str] = (), each: int = 20) -> list[dict[str, Any]]:
    """Some development questions of every subject, or of these."""
    found: dict[str, list[Question]] = {}
    for question in specialists.questions("dev"):
        found.setdefault(question.subject, []).append(question)
    chosen = [one for name in subjects or found for one in found[name][:each]]
    return [{"question": one.question, "answer": one.answer} for one in chosen]


def tuned(folder: Path | None, parts: Sequence[Member], data: list[dict[str, Any]], **given: Any) -> Tuning:
    llm = EnsembleLLM(parts, **OPTIONS)
    return tune(llm, data, chat=True, folder=folder, **{"trials": 2, "search_space": SPACE, **given})


def test_the_written_file_keeps_its_promise_on_the_test_set(tmp_path: Path) -> None:
    found = tuned(None, members(), asked(each=10))
    assert found.verdict == "ensemble"
    assert found.estimate.gain.low > 0.1
    found.save_config(tmp_path / "ensemble.yaml")
    loaded = EnsembleLLM.from_config(tmp_path / "ensemble.yaml")
    test = read_examples(specialists.file("test"), chat=True)[::2]
    reached = score_interval(scores(loaded, test, Measure.of(None, test))).value
    assert found.expected.low <= reached <= found.expected.high
    assert loaded.settings.generation.max_new_tokens == 8


def test_a_member_of_no_value_is_left_out() -> None:
    atlas, curie, webster = members()
    assert isinstance(atlas, LocalMember)
    size = atlas.vocabulary.size
    nobody = LocalMember(random_model("llama", size, atlas.tokenizer.eos_token_id), atlas.tokenizer, "nobody")
    found = tuned(None, [nobody, atlas, curie, webster], asked(each=5))
    assert found.alone[0] == min(found.alone)
    assert [len(one.candidate.members) for one in found.growth] == [1, 2, 3, 4]
    assert 0 not in found.best.candidate.members
    assert {member.name for member in found.llm.members} == {"atlas", "curie", "webster"}


def test_a_twin_is_left_out_and_the_next_member_tried() -> None:
    atlas, curie, _ = members()
    assert isinstance(atlas, LocalMember)
    twin = LocalMember(atlas.model, atlas.tokenizer, "twin")
    found = tuned(None, [atlas, twin, curie], asked(each=6), trials=1)
    assert len(found.best.candidate.members) == 2
    assert 2 in found.best.candidate.members


def test_where_one_member_dominates_it_is_used_alone(tmp_path: Path) -> None:
    found = tuned(None, members(), asked(["capitals", "languages", "currencies"]))
    assert found.verdict == "alone"
    assert found.advice.startswith("Use atlas alone")
    assert [member.name for member in found.llm.members] == ["atlas"]
    assert found.expected == found.estimate.single
    found.save_config(tmp_path / "ensemble.yaml")
    assert len(EnsembleLLM.from_config(tmp_path / "ensemble.yaml").members) == 1


def test_an_interrupted_tuning_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    data, parts, told = asked(each=4), members()[:2], list[Progress]()
    whole = tuned(tmp_path / "whole", parts, data)

    def interrupt(progress: Progress) -> None:
        told.append(progress)
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "cut", parts, data, progress=interrupt)
    assert told[-1].done == 3
    reads: list[int] = []
    hooks = [one.model.register_forward_pre_hook(lambda *_: reads.append(1)) for one in parts]  # type: ignore[attr-defined]
    try:
        again = tuned(tmp_path / "cut", parts, data)
        first_time = len(reads)
        assert again.record() == whole.record()
        reads.clear()
        assert tuned(tmp_path / "cut", parts, data).record() == whole.record()
        assert not reads
        assert first_time > 0
    finally:
        for hook in hooks:
            hook.remove()


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    data, parts = asked(each=4), members()[:2]
    tuned(tmp_path, parts, data, trials=1)
    before = (tmp_path / "scores.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="other examples"):
        tuned(tmp_path, parts, data[1:], trials=1)
    with pytest.raises(ConfigError, match="other metric"):
        tuned(tmp_path, parts, data, trials=1, metric="contains")
    with pytest.raises(ConfigError, match="other members"):
        tuned(tmp_path, members()[1:], data, trials=1)
    with locked(tmp_path), pytest.raises(ConfigError, match="another process"):
        tuned(tmp_path, parts, data, trials=1)
    assert (tmp_path / "scores.jsonl").read_bytes() == before


def test_choices_are_tuned_by_likelihood() -> None:
    data, space = asked(each=4)[:30], {**SPACE, "methods": ["surface"]}
    wrong = [one["answer"] for one in data[5:] + data[:5]]  # of another subject
    for one, other in zip(data, wrong, strict=True):
        one["choices"] = [f" {other}", f" {one['answer'].rstrip('.')}x", f" {one['answer']}"]
        one["answer"] = one["choices"][2]
    found = tuned(None, members()[:2], data, trials=1, search_space=space, sweeps=True)
    assert found.metric == "accuracy"
    assert found.best.score > 0.9
    assert found.sweeps is not None
    assert all(1 / 3 <= one <= 1 for one in found.sweeps.confidence)
    assert set(found.sweeps.options) == {"rounds"}
    assert all(point.loss is not None and 0 <= point.loss < math.log(3) for point in found.sweeps.options["rounds"])


def test_what_is_found_is_what_was_tried_whatever_the_ensemble_was(tmp_path: Path) -> None:
    own = {"method": "deepen", "max_rows": 50, "min_anchors": 5}
    llm = EnsembleLLM(
        members()[:2], fusion=own, gate="unsure", weights=[0.9, 0.1], eos_policy="main", draft_tokens=2, **OPTIONS
    )
    found = tune(llm, asked(each=4), chat=True, trials=1, search_space=BAYES)
    candidate, settings = found.best.candidate, found.llm.settings
    assert settings.gate.when == candidate.gate == "always"
    assert settings.weights == candidate.weights
    assert isinstance(settings.fusion, Bayes)
    assert (settings.fusion.max_rows, settings.fusion.min_anchors) == (50, 5)
    assert (settings.eos_policy, settings.draft_tokens, settings.generation.max_new_tokens) == ("main", 2, 8)
    assert len(repr(found)) < 2500


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trials": 0}, "got trials=0"),
        ({"held_out": 0.0}, "held_out"),
        ({"metric": "bleu"}, "bleu"),
        ({"search_space": {"relr": (0.5, 0.1)}}, "relr"),
        ({"search_space": {"method": "bayes"}}, "did you mean 'methods'"),
        ({"search_space": {"rlr": (0.1, 0.2)}}, "did you mean 'relr'"),
        ({"search_space": {"methods": ["bays"]}}, "did you mean 'bayes'"),
    ],
)
def test_arguments_that_cannot_be_used_are_told_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tuned(None, members()[:2], asked(each=4), **given)


def test_one_member_leaves_nothing_to_tune() -> None:
    with pytest.raises(ConfigError, match="expected at least two members to fuse"):
        tuned(None, members()[:1], asked(each=4))


def test_settings_that_cannot_be_used_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    wanting, given = {"min_anchors": 10**6}, {"trials": 1, "search_space": BAYES}
    monkeypatch.setattr(Bayes, "starts", (wanting, {}))
    found = tuned(None, members()[:2], asked(each=4), **given, metric=lambda *_: 0.0)  # nobody scores anything
    assert found.verdict == "alone"
    assert len(found.unusable) == 2
    assert all("min_anchors" not in one.candidate.fusion for one in found.growth)
    monkeypatch.setattr(Bayes, "starts", (wanting,))
    with pytest.raises(ConfigError, match="no two members can be fused"):
        tuned(None, members()[:2], asked(each=4), **given)


def test_what_a_machine_that_went_down_has_spoiled_is_scored_anew(tmp_path: Path) -> None:
    data = asked(each=4)
    whole = tuned(tmp_path, members()[:2], data, trials=1)
    file = tmp_path / "scores.jsonl"
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], b"\0" * len(lines[1]), b"[]", *lines[2:]]))
    assert tuned(tmp_path, members()[:2], data, trials=1).record() == whole.record()
