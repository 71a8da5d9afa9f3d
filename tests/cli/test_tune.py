"""`deepen tune`, in this process and in one of its own."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from deepen_llm import specialists
from deepen_llm.cli import app
from deepen_llm.config import EnsembleConfig
from deepen_llm.diagnostics.pictures.tuning import draw, members, options, reliability
from deepen_llm.tuning.result import Tuning
from tests.cli.processes import Processes
from tests.tuning.conftest import few_values as few_values
from tests.tuning.test_tune import BAYES, asked, tuned
from tests.tuning.test_tune import members as bundled


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "dev.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in asked(each=4)), encoding="utf-8")
    return file


def command(data: Path, out: Path, *more: str) -> list[str]:
    paths = [part for path in specialists.paths() for part in ("-m", str(path))]
    small = ["--chat", "--trials", "1", "--max-new-tokens", "8", "--device", "cpu", "--search-space", "methods=[exact]"]
    return ["tune", str(data), *paths, *small, "--out", str(out), *more]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_tuning_is_interrupted_goes_on_and_writes_what_every_front_end_loads(
    data: Path, tmp_path: Path, processes: Processes
) -> None:
    out, folder = tmp_path / "ensemble.yaml", tmp_path / "ensemble.tune"
    with processes.start(*command(data, out)) as process:
        deadline = time.monotonic() + 120
        while not (scores := folder / "scores.jsonl").exists() or scores.read_bytes().count(b"\n") < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.interrupt()
        code, _, errors = process.finish()
    said = errors.decode()
    assert code == 130
    assert "Traceback" not in said
    assert "the same command continues from there" in " ".join(said.split())
    assert not out.exists()
    before = scores.read_bytes()
    done = run(*command(data, out, "--json"))
    assert done.exit_code == 0, done.output
    assert scores.read_bytes().startswith(before)
    record = json.loads(done.stdout)
    assert record["verdict"] == "ensemble"
    config = EnsembleConfig.load(out)
    assert [member.label for member in config.members] == record["best"]["members"]
    assert run(*command(data, out)).exit_code == 1  # it would write over it
    again = run(*command(data, out, "--force"))
    assert again.exit_code == 0
    assert "Use the ensemble" in again.stdout


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{"], "expected JSON in "),
        (['{"prompt": "a"}'], "line 1"),
        (['{"prompt": "a", "references": ["b"]}'], "expected at least 30 examples, got 1"),
    ],
)
def test_a_bad_set_is_refused_before_anything_is_computed(lines: list[str], said: str, tmp_path: Path) -> None:
    data = tmp_path / "dev.jsonl"
    data.write_text("\n".join(lines), encoding="utf-8")
    done = run(*command(data, tmp_path / "ensemble.yaml"))
    assert done.exit_code == 1
    assert said in done.stderr
    assert "hint" in done.stderr
    assert not (tmp_path / "ensemble.tune").exists()


@pytest.mark.parametrize(
    ("more", "said"), [(["--metric", "bleu"], "'bleu'"), (["--test", "none.jsonl"], "none.jsonl cannot be read")]
)
def test_what_is_asked_is_checked_before_models_are_loaded(more: list[str], said: str, data: Path) -> None:
    done = run("tune", str(data), "-m", "no/one", "-m", "no/other", *more)
    assert done.exit_code == 1
    assert said in done.stderr


def test_a_test_set_that_was_seen_is_refused(data: Path, tmp_path: Path) -> None:
    done = run(*command(data, tmp_path / "ensemble.yaml", "--test", str(data)))
    assert done.exit_code == 1
    assert "expected a test set without questions of the development set" in done.stderr


def test_members_want_a_dataset() -> None:
    assert run("tune", "-m", str(specialists.path("atlas"))).exit_code == 2


@pytest.fixture(scope="module")
def found() -> Tuning:
    return tuned(None, bundled()[:2], asked(each=4)[:30], trials=1, search_space=BAYES, sweeps=True)


def heights(axes: Axes) -> list[float]:
    return np.asarray(axes.lines[0].get_ydata(), float).tolist()  # type: ignore[no-any-return]


def test_pictures_show_what_was_found(found: Tuning, tmp_path: Path) -> None:
    (axes,) = members(found).axes
    assert heights(axes) == pytest.approx([100 * one.score for one in found.growth])
    assert found.sweeps is not None
    panels = {axes.get_xlabel(): axes for axes in options(found).axes if axes.get_xlabel()}
    assert set(found.sweeps.options) == {"rounds", "self_mass", "anchor_count"}
    assert len(panels) == 3
    for axes, points in zip(panels.values(), found.sweeps.options.values(), strict=True):
        assert heights(axes) == pytest.approx([100 * point.score for point in points])
    files = list(draw(found, tmp_path / "pictures"))
    assert [file.name for file in files] == ["members.png", "options.png", "reliability.png"]
    assert all(imread(file).std() > 0 for file in files)


def test_reliability_has_every_example_in_one_bin() -> None:
    confidence = [i / 100 for i in range(100)]
    (axes,) = reliability(confidence, [float(i >= 50) for i in range(100)]).axes
    points = [(float(one[0].get_xdata()[0]), float(one[0].get_ydata()[0])) for one in axes.containers]
    assert [y for x, y in points if x < 0.4] == [0.0] * 3
    assert [y for x, y in points if x > 0.6] == [1.0] * 3
    assert sum(x for x, _ in points) / len(points) == pytest.approx(0.495, abs=0.01)


def test_a_file_that_cannot_be_written_is_told_before_members_are_loaded(data: Path, tmp_path: Path) -> None:
    done = run(*command(data, data / "ensemble.yaml", "--member", "no/such/model", "--folder", str(tmp_path)))
    assert done.exit_code == 1
    assert "ensemble.yaml cannot be written" in done.stderr
    assert "give another --out" in done.stderr
