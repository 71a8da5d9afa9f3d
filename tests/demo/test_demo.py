"""The demonstration: right answers are counted, judged and shown as they are."""

import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepen_llm import specialists
from deepen_llm.cli import app
from deepen_llm.cli.report import gain_line
from deepen_llm.demo.long_answers import NAMES
from deepen_llm.demo.long_answers import measure as long_answers_module
from deepen_llm.demo.long_answers.measure import METHODS, QUESTIONS
from deepen_llm.demo.measure import QuestionResult, pick
from deepen_llm.demo.settings import Choice, DemoSettings
from deepen_llm.demo.tuning import fusions, rounds, tune
from deepen_llm.demo.verdict import judge, reached
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import Deepen
from deepen_llm.members.base import Member
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_member
from deepen_llm.specialists import Question
from deepen_llm.tuning.intervals import Interval

ASKED = [Question(subject, f"{subject} {number}?", f"A{number}") for subject in ("one", "two") for number in range(4)]


def members() -> list[Member]:
    return [load_member(MemberConfig(path=str(path), device="cpu")) for path in specialists.paths()]


def test_white_space_and_case_do_not_matter_and_all_else_does() -> None:
    questions = tuple(Question("capitals", "?", "Paris") for _ in range(4))
    result = QuestionResult(questions, (" paris\n", "Paris.", "Par is", "PARIS"), tokens=8, seconds=2.0)
    assert result.right == [True, False, False, True]
    assert result.accuracy == result.accuracy_in("capitals") == 0.5
    assert result.tokens_per_second == 4


def test_pick_spreads_over_subjects_and_keeps_their_order() -> None:
    assert [question.question for question in pick(ASKED, [], 3)] == ["one 0?", "one 1?", "two 0?"]
    assert pick(ASKED, ["two"], None) == ASKED[4:]
    assert pick(ASKED, [], None) == ASKED


def test_the_interval_of_equals_is_zero_and_of_others_holds_the_difference() -> None:
    nothing = judge([True, False] * 20, [True, False] * 20)
    assert (nothing.value, nothing.low, nothing.high, reached(nothing)) == (0, 0, 0, False)
    ours, theirs = [True] * 60 + [False] * 40, [True] * 40 + [False] * 60
    verdict = judge(ours, theirs)
    assert verdict.value == pytest.approx(20)
    assert verdict.low < 20 < verdict.high
    half = 196 * math.sqrt(0.2 * 0.8 / 100)  # the normal approximation of the same interval
    assert verdict.high - verdict.low == pytest.approx(2 * half, rel=0.1)
    assert verdict == judge(ours, theirs)


def test_ten_points_are_the_target() -> None:
    assert reached(judge([True] * 10 + [False] * 90, [False] * 100))
    assert not reached(judge([True] * 9 + [False] * 91, [False] * 100))


def test_the_settings_in_the_package_are_tuned_on_all_development_questions() -> None:
    settings = DemoSettings.load()
    assert settings.questions == len(specialists.questions("dev"))
    assert tuple(settings.members) == specialists.NAMES
    tried = fusions()
    assert [one.name for one in settings.ensembles] == [f"{one} {how}" for one in tried for how in ("Avg", "Adapt")]
    assert all(one.fusion in tried[one.method] for one in settings.ensembles)


def test_settings_survive_their_file(tmp_path: Path) -> None:
    choice = Choice(
        method="deepen",
        weighting="Adapt",
        main_model=1,
        weights=(0.25, 0.75),
        fusion={"method": "deepen", "relr": 0.3},
        accuracy=0.5,
    )
    settings = DemoSettings(questions=3, members={"a": 0.25, "b": 0.75}, ensembles=(choice,))
    settings.save(tmp_path / "s.yaml")
    assert DemoSettings.load(tmp_path / "s.yaml") == settings
    with pytest.raises(ConfigError, match="cannot be read"):
        DemoSettings.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be written"):
        settings.save(tmp_path)


def test_tuning_keeps_the_best_and_of_equals_the_gentlest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deepen, "starts", tuple({"relr": relr, "search_steps": 1} for relr in (0.0, 0.2)))
    told: list[int] = []
    questions = pick(specialists.questions("dev"), [], 5)
    settings = tune(members()[:2], questions, lambda _, count: told.append(count))
    assert sum(told) == rounds(2) * 5
    total = sum(settings.members.values())
    adapt = next(one for one in settings.ensembles if one.weighting == "Adapt")
    assert adapt.weights == pytest.approx([score / total for score in settings.members.values()], abs=1e-3)
    assert max(settings.members.values()) <= min(one.accuracy for one in settings.ensembles)  # relr 0 is the member


def test_the_demo_tells_every_step_on_a_line_and_then_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_answers_module, "MAX_TOKENS", 12)
    result = CliRunner().invoke(app, ["demo", "--questions", "9"])
    assert result.exit_code == 0, result.output
    for shown in (*specialists.NAMES, "overall", "tokens/s", "development set", "points", "goal of 10", "95 %"):
        assert shown in result.stdout
    _, long = result.stdout.split("Long answers to 9 test questions, in %")
    for answerer in (*(f"{name} alone" for name in NAMES), *METHODS):
        assert re.search(rf"^ +{answerer} +[\d,]+( +\d+\.\d){{2}} +\d+ *$", long, re.MULTILINE), answerer
    for shown in ("Derailed: no answer", "(bayes: three rounds)", "best member alone", "points", "95 %"):
        assert shown in " ".join(long.split())
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    asked = [f"{name} alone" for name in specialists.NAMES] + [one.name for one in DemoSettings.load().ensembles]
    told = (
        r"Tiny models .* offline, in about a minute",
        r"Loaded three models that come with the package: atlas, curie, webster \(\d+\.\d s\)",
        r"Asking 9 questions: .* Right answers:",
        *(rf"  {name} +\d+\.\d %  \(\d+\.\d s\)" for name in asked),
        "",
        r"Loaded three models that come with the package: polo, battuta, egeria \(\d+\.\d s\)",
        r"Asking for 9 long answers: .* Right answers:",
        *(rf"  {name} +\d+\.\d %  \(\d+\.\d s\)" for name in (*(f"{one} alone" for one in NAMES), *METHODS)),
        "",
    )
    for said, expected in zip(result.stderr.splitlines(), told, strict=True):  # and no warning
        assert re.fullmatch(expected, said), said


def test_the_demo_says_where_an_ensemble_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Choice(
        method="deepen", weighting="Avg", main_model=0, fusion={"method": "deepen", "relr": 0.0}, accuracy=0.4
    )
    settings = DemoSettings(questions=180, members=dict.fromkeys(specialists.NAMES, 0.4), ensembles=(choice,))
    monkeypatch.setattr(DemoSettings, "load", classmethod(lambda cls: settings))
    subjects = [f"--subject={name}" for name in ("capitals", "elements", "plurals")]
    result = CliRunner().invoke(app, ["demo", "--questions", "9", *subjects])
    assert result.exit_code == 0, result.output
    assert "Long answers" not in result.stdout
    assert "does NOT reach the goal" in result.stdout
    assert "No question here" in result.stdout


def test_long_answers_are_a_subject_of_which_no_more_are_asked_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_answers_module, "MAX_TOKENS", 3)
    result = CliRunner().invoke(app, ["demo", "--questions", "99", "--subject", "chains"])
    assert result.exit_code == 0, result.output
    assert f"Long answers to {QUESTIONS} test questions" in result.stdout
    assert "Right answers to" not in result.stdout
    assert "100.0        3" in result.stdout  # so short an answer is derailed
    assert "No question here" in result.stdout


@pytest.mark.parametrize("arguments", [["--subject", "cooking"], ["--questions", "0"], ["--tune", "--questions", "6"]])
def test_wrong_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["demo", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""


def test_gains_stand_in_one_column() -> None:
    names, gain = ("deepen Avg", "surface Adapt"), Interval(0.1, 0.05, 0.2)
    lines = [gain_line(name, gain, names).plain for name in names]
    assert len({line.index("+") for line in lines}) == 1
