"""The study's given text: which pieces members read, and how likely ensembles find the others."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from deepen_llm.errors import ConfigError
from deepen_llm.llm import EnsembleLLM
from research.chains.measure import load
from research.chains.settings import Setting
from research.given.__main__ import main
from research.given.measure import scored
from research.given.members import MEMBERS, Reader
from research.given.problems import problems
from research.given.tables import markdown
from research.given.texts import LENGTHS, MATHEMATICS, PARTS, part, texts
from research.given.training import pieces

SHORT = ("--steps", "2", "--batch", "400", "--pieces", "600")


def lines(pieces: Iterable[str]) -> str:
    return "".join(json.dumps({"text": piece}) + "\n" for piece in pieces)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of three fields, in each form that a field may have."""
    made = tmp_path_factory.mktemp("texts")
    trees = [f"The tree of number {n} grows {n} feet in {n % 7} years." for n in range(300)]
    stones = [f"Stone {n} weighs {3 * n} pounds,\nand is as grey as the others." for n in range(300)]
    files = {
        "mathematics.jsonl": lines(problems(400)),
        "plants/trees.jsonl": lines([*trees, trees[0]]),
        "plants/flowers.txt": "A rose is a flower that has very many thorns.\n\nToo short.\n",
        "stones.txt": "\n\n".join(stones),
        "README.md": "This file is no text of any field, however long it may be.",
    }
    (made / "plants").mkdir()
    for name, text in files.items():
        (made / name).write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def models(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("given")
    main(["train", "--texts", str(folder), "--out", str(made), *SHORT])
    return made


def test_every_problem_is_worked_out_right() -> None:
    made = list(problems(300))
    assert made == list(problems(300)) != list(problems(300, seed=8))
    for problem in made:
        question, answer = problem.split("\nAnswer: ")
        has = re.search(r" has (\d+) ", question)
        assert has
        known = has[1]
        for first, sign, second, result in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)\.", answer):
            assert first == known
            assert re.search(rf"\b{second}\b", question)
            known = result
            assert int(result) == {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(first), int(second))
        assert answer.endswith(f" The answer is {known}.")


def test_texts_are_read_by_field_once_each(folder: Path) -> None:
    found = texts(folder)
    assert {field: len(pieces) for field, pieces in found.items()} == {MATHEMATICS: 400, "plants": 301, "stones": 300}
    assert "A rose is a flower that has very many thorns." in found["plants"]
    assert "Stone 7 weighs 21 pounds,\nand is as grey as the others." in found["stones"]


def test_texts_without_mathematics_are_refused(tmp_path: Path) -> None:
    (tmp_path / "stones.txt").write_text("This text is long enough, but of one field alone.", encoding="utf-8")
    with pytest.raises(ConfigError, match="no pieces of 'mathematics'"):
        texts(tmp_path)


def test_without_a_folder_there_are_texts_of_three_fields() -> None:
    found = texts()
    assert list(found) == ["language", "library", MATHEMATICS]
    assert all(
        len(pieces) > 1000 and {len(piece) in LENGTHS for piece in pieces} == {True} for pieces in found.values()
    )


def test_each_piece_is_of_one_part(folder: Path) -> None:
    found = [piece for pieces in texts(folder).values() for piece in pieces]
    training, development, test = (part(found, which) for which in PARTS)
    assert sorted(training + development + test) == sorted(found)
    assert all(0.05 < len(held_out) / len(found) < 0.15 for held_out in (development, test))


@pytest.mark.parametrize("reader", MEMBERS.values(), ids=list(MEMBERS))
def test_members_read_their_own_field_most_and_no_piece_that_is_held_out(folder: Path, reader: Reader) -> None:
    found = texts(folder)
    field_of = {piece: field for field, pieces in found.items() for piece in pieces}
    read = list(itertools.islice(pieces(reader, found, 1), 2000))
    assert part(read, "training") == read
    counts = Counter(field_of[piece] for piece in read)
    for field, share in zip(found, reader.shares(list(found)), strict=True):
        assert counts[field] / len(read) == pytest.approx(share, abs=0.05)
    own = {"A": [MATHEMATICS], "B": ["plants"], "C": ["stones"], "D": []}[reader.name]
    assert [field for field in found if counts[field] > len(read) / 2] == own


def test_each_member_has_a_vocabulary_of_its_own(models: Path) -> None:
    vocabularies = [member.vocabulary for member in load(models, MEMBERS)]
    assert len({one.fingerprint for one in vocabularies}) == len(MEMBERS)
    assert vocabularies[-1].size == MEMBERS["D"].size


def test_measuring_writes_each_main_model_alone_and_its_ensembles(folder: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "given.jsonl"
    command = ["measure", "--texts", str(folder), "--models", str(models), "--out", str(out), "--pieces", "3"]
    main([*command, "--ensembles", "D+A", "D+ABC", "A+B", "--weights", "equal", "--part", "test"])
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["ensemble"], row["setting"]) for row in rows] == [
        ("D", "alone"),
        ("D+A", "surface"),
        ("D+ABC", "surface"),
        ("A", "alone"),
        ("A+B", "surface"),
    ]
    for row in rows:
        whole, alone = row["all"], next(one for one in rows if one["ensemble"] == row["ensemble"][0])["all"]
        assert whole["pieces"] == len(row["nats_of_pieces"]) == 9
        assert sum(row["nats_of_pieces"]) / whole["tokens"] == pytest.approx(whole["nats"], abs=1e-3)
        assert sum(row[field]["tokens"] for field in (MATHEMATICS, "plants", "stones")) == whole["tokens"]
        if row["setting"] != "alone":
            mean, low, high = whole["gain"]
            assert mean == pytest.approx(alone["nats"] - whole["nats"], abs=1e-3)
            assert low < mean < high
    assert out.with_suffix(".md").read_text(encoding="utf-8") == markdown(rows)


def test_scores_are_those_of_the_ensemble_on_whole_pieces(folder: Path, models: Path) -> None:
    members, piece = dict(zip(MEMBERS, load(models, MEMBERS), strict=True)), part(texts(folder)["stones"], "test")[0]
    (found,) = scored(members, "B+A", Setting("B", "surface"), [piece]).pieces
    first, _, rest = piece.partition(" ")
    assert found == EnsembleLLM([members["B"], members["A"]]).score(first, f" {rest}")
    (weighted,) = scored(members, "B+A", Setting("B", "surface", weights=[1, 0]), [piece]).pieces
    (alone,) = scored(members, "B", Setting("B"), [piece]).pieces
    assert weighted.total == pytest.approx(alone.total, abs=1e-3)
    with pytest.raises(ConfigError, match="no member 'E'"):
        scored(members, "A+E", Setting("A", "surface"), [piece])
