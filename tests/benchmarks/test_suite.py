"""The benchmark: it runs, says what it measured, and what it compares with is what it says."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.decoding import agreement
from benchmarks.floor import Floor
from benchmarks.reference import ReferenceLoop
from benchmarks.rows import ROWS, RowResult
from benchmarks.setting import QUICK, BenchmarkSetting
from benchmarks.suite import PARTS, Part, Suite
from deepen_llm import Deepen, EnsembleLLM
from deepen_llm.diagnostics.timing import Ratio
from deepen_llm.members.local.member import LocalMember
from deepen_llm.vocabulary import shared_anchors


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkSetting:
    return BenchmarkSetting("tiny", QUICK, torch.device("cpu"), tmp_path_factory.mktemp("tokenizers"))


def test_a_quick_run_has_every_row_with_its_target_and_verdict(
    tmp_path: Path, setting: BenchmarkSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.setting.default_cache", lambda: setting.cache)
    few: dict[str, Any] = {
        "tokens": 6,
        "batch": 2,
        "batch_tokens": 2,
        "reference_tokens": 8,
        "context_tokens": 2,
        "warm": 2,
    }
    monkeypatch.setattr("benchmarks.setting.QUICK", replace(QUICK, **few, rows=(16,)))
    for name in ("fused._MEASURED", "fused._FLAT", "specialists._STEPS"):
        monkeypatch.setattr(f"benchmarks.{name}", 2)
    result = CliRunner().invoke(app, ["--quick", "--cpu", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == record
    assert list(record["rows"]) == list(ROWS)
    for name, row in record["rows"].items():
        measured = row["value"] is not None
        assert measured == (not ROWS[name].gpu), (name, row["note"])
        assert row["target"] == ROWS[name].target
        assert row["verdict"] in ({"met", "missed"} if row["target"] else {"info"}) if measured else {"not measured"}
        assert bool(row["raw"]) == measured
        assert row["note"]
    assert {"date", "machine", "versions", "options", "seconds"} <= set(record)
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in table for name in ROWS)


def test_the_plot_has_four_panels_and_is_missed_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import report

    pytest.importorskip("matplotlib")
    curve = {"x": [1, 2], "ours": [0.1, 0.2], "floor": [0.1, 0.1]}
    results = [RowResult(name, Ratio(1, 1, 1), "n", {"curve": curve}) for name in ("context", "batch", "members")]
    about = {"date": "d", "machine": "m", "versions": {}}
    assert report.save(results, about, tmp_path) == []
    assert (tmp_path / "performance.png").stat().st_size > 10_000

    (tmp_path / "performance.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "deepen_llm.diagnostics.pictures", raising=False)
    monkeypatch.delitem(sys.modules, "deepen_llm.diagnostics.pictures.style", raising=False)
    assert "matplotlib" in report.save(results, about, tmp_path)[0]


def test_every_row_is_measured_by_one_part() -> None:
    measured = [name for part in PARTS for name in part.names]
    assert sorted(measured) == sorted(ROWS)


def test_a_failing_part_leaves_the_others_and_says_so(
    setting: BenchmarkSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> object:
        raise ValueError("no such thing")

    def fine(*_: object) -> object:
        yield RowResult("batch", Ratio(1, 1, 1))

    parts = (Part(("plain", "drafts"), fail), Part(("batch",), fine))  # type: ignore[arg-type]
    monkeypatch.setattr("benchmarks.suite.PARTS", parts)
    suite = Suite(["plain", "batch"], setting, None)
    assert [one.name for one in suite.run(lambda *_: None)] == ["plain", "batch"]
    found = {one.name: one for one in suite.results}
    assert found["plain"].failed
    assert "no such thing" in found["plain"].note
    assert found["batch"].verdict == "met"
    assert found["drafts"].note == "left out (--rows)"
    assert not found["drafts"].failed


def test_unknown_rows_are_refused() -> None:
    result = CliRunner().invoke(app, ["--rows", "speed"])
    assert result.exit_code == 2
    assert result.stdout == ""


def test_members_follow_their_script_and_fusion_corrects_the_main_model(setting: BenchmarkSetting) -> None:
    pairs, prompt = setting.pairs(), setting.prompt(20)
    llm = EnsembleLLM(pairs, fusion=Deepen())
    output = llm.generate(prompt, max_new_tokens=60)
    assert setting.text.startswith(prompt + output.text)
    assert agreement(pairs[0], prompt, output.tokens) == pytest.approx(0.9, abs=0.07)


def test_every_row_of_a_batch_follows_its_own_text(setting: BenchmarkSetting) -> None:
    texts = setting.texts(4, 40)
    pairs = setting.pairs(2, texts)
    prompts = [setting.prompt(10 + 3 * row, text) for row, text in enumerate(texts)]
    outputs = EnsembleLLM(pairs, fusion=Deepen()).generate(prompts, max_new_tokens=20)
    for text, prompt, output in zip(texts, prompts, outputs, strict=True):
        assert text.startswith(prompt + output.text)
    model, tokenizer = pairs[1]  # which never disagrees with the text; its prompts are padded on the left
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    said = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    for text, ids in zip(texts, said, strict=True):
        assert text.startswith(tokenizer.decode(ids, skip_special_tokens=True))
    assert Floor(pairs).seconds_per_token(prompts[0], 8) > 0


def test_the_texts_of_a_large_batch_begin_with_tokens_of_their_own(setting: BenchmarkSetting) -> None:
    texts = setting.texts(32, 20)
    for _, tokenizer in setting.pairs():
        assert len({tokenizer(text).input_ids[0] for text in texts}) == 32


def test_the_reference_loop_is_the_dense_method(setting: BenchmarkSetting) -> None:
    pairs, prompt = setting.pairs(), setting.prompt(20)
    members = [LocalMember(*pair) for pair in pairs]
    anchors = shared_anchors([member.vocabulary for member in members])
    loop = ReferenceLoop(pairs, anchors)
    fusion = Deepen(memory_budget="1GB").prepare(members, 0)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.5, 3.0):
        logits = [scale * torch.randn(1, member.vocabulary.size, generator=generator) for member in members]
        for one in logits:
            one[:, 0] = -9.0  # the end of text, where the two need not treat several ids alike
        ours, theirs = fusion.fuse(logits, torch.full((1, 2), 0.5)), loop.fuse([one[0] for one in logits])
        torch.testing.assert_close(ours[0].softmax(-1), theirs.softmax(-1), rtol=0.02, atol=1e-5)
    text = prompt
    for _ in range(12):
        text = loop.append(text, int(loop.next_logits(text).argmax()))
    assert text == prompt + EnsembleLLM(pairs, fusion=Deepen()).generate(prompt, max_new_tokens=12).text
