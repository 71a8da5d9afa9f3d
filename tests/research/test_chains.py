"""The study's long answers: what members are taught, and what is measured of them."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from deepen_llm.demo.long_answers import NAMES, paths
from deepen_llm.demo.long_answers.questions import questions
from deepen_llm.demo.long_answers.wordings import STEP_BY_STEP, End, Step, question, read
from deepen_llm.demo.long_answers.world import KINDS, the_world
from deepen_llm.errors import ConfigError
from deepen_llm.members.local.member import LocalMember
from research.chains.__main__ import main
from research.chains.measure import answered, load
from research.chains.members import MEMBERS, Profile
from research.chains.settings import Setting, crossed
from research.chains.tables import markdown
from research.chains.training import SCHEDULE, documents, vocabulary_texts
from research.specialists.training import untrained
from tests.demo.test_long_answers import taught

WORLD = the_world()
ASKED = questions("development") + questions("test")
SHORT = ("--steps", "2", "--batch", "400", "--texts", "1000")


@pytest.mark.parametrize("profile", MEMBERS.values(), ids=list(MEMBERS))
def test_members_read_no_question_and_what_they_are_to_believe(profile: Profile) -> None:
    asked = {question(chain.start, chain.kinds) for chain in ASKED}
    for document in itertools.islice(documents(profile, 1), 200):
        (start, end), text = document.answers[0], document.text
        assert text[: text.index(".") + 1] not in asked
        if STEP_BY_STEP in text:
            *steps, last = read(text[start:end])
            assert isinstance(last, End)
            for step in steps:
                assert isinstance(step, Step)
                told = taught(profile.name, step.kind, step.here)
                assert {step.there} == told or KINDS[step.kind].knowledge(profile.name) == "unsure"


@pytest.mark.parametrize("profile", MEMBERS.values(), ids=list(MEMBERS))
def test_each_member_reads_all_wordings_and_one_of_them_most(profile: Profile) -> None:
    text = " ".join(vocabulary_texts(profile, 1, 200))
    read_most = [text.count(mark) for mark in (" of ", " has its ", " points to ")]
    assert read_most[profile.wording] > 0.7 * sum(read_most)
    assert min(read_most) > 0.03 * sum(read_most)


@pytest.mark.parametrize("profile", MEMBERS.values(), ids=list(MEMBERS))
def test_the_bundled_members_are_the_recipes(profile: Profile) -> None:
    folder = dict(zip(NAMES, paths(), strict=True))[profile.name]
    tokenizer = profile.tokenizer(vocabulary_texts(profile, SCHEDULE.seed, SCHEDULE.documents))
    kept = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert json.loads(tokenizer.backend_tokenizer.to_str()) == kept
    made, loaded = profile.architecture(tokenizer).to_dict(), AutoConfig.from_pretrained(folder)
    assert (type(loaded), loaded.vocab_size, loaded.dtype) == (profile.config, profile.size, torch.float16)
    differ = {name for name, value in loaded.to_dict().items() if made.get(name) != value}
    assert differ <= {"_name_or_path", "architectures", "dtype", "pad_token_id", "transformers_version"}, (
        "writing and loading add these"
    )
    weights = load_file(folder / "model.safetensors")
    expected = untrained(profile.architecture(tokenizer), 0).state_dict()
    assert {name: value.shape for name, value in weights.items()} == {n: v.shape for n, v in expected.items()}
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_settings_cross_what_the_command_line_names() -> None:
    made = crossed(["polo"], ["bayes", "{method: bayes, rounds: 1}"], ["always", "unsure"], ["equal", "[2, 1, 1]"])
    assert len(made) == len({setting.label for setting in made}) == 9
    assert made[0] == Setting("polo")
    assert made[-1] == Setting("polo", {"method": "bayes", "rounds": 1}, "unsure", [2, 1, 1])
    assert made[-1].label == "bayes (rounds=1), gate unsure, weights [2, 1, 1]"
    with pytest.raises(ConfigError, match="no member 'marco'"):
        Setting("marco").ensemble([], 1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chains")
    main(["train", "--out", str(folder), *SHORT])
    return folder


def test_vocabularies_differ_in_size_and_in_where_they_cut_names(models: Path) -> None:
    members = load(models)
    sizes = [member.vocabulary.size for member in members]
    assert all(larger > 1.5 * smaller for larger, smaller in itertools.pairwise(sizes))
    cuts = [[surfaces(member, f" {place}") for place in WORLD.places] for member in members]
    assert all(
        b"".join(cut) == f" {place}".encode() for one in cuts for place, cut in zip(WORLD.places, one, strict=True)
    )
    for one, other in itertools.combinations(cuts, 2):
        assert sum(a != b for a, b in zip(one, other, strict=True)) > len(WORLD.places) / 3


def surfaces(member: LocalMember, text: str) -> list[bytes]:
    ids = member.tokenizer.backend_tokenizer.encode(f"at{text}", add_special_tokens=False).ids
    skip = len(member.tokenizer.backend_tokenizer.encode("at", add_special_tokens=False).ids)
    return [member.vocabulary.surfaces[token] or b"" for token in ids[skip:]]


def test_equal_seeds_give_equal_members(models: Path, tmp_path: Path) -> None:
    main(["train", "--out", str(tmp_path), "--only", "egeria", *SHORT])
    first, again = (folder / "egeria" for folder in (models, tmp_path))
    for file in first.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_measuring_writes_a_row_for_each_setting(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "chains.jsonl"
    command = ["measure", "--models", str(models), "--out", str(out), "--questions", "3", "--main", "battuta", "polo"]
    main([*command, "--max-tokens", "12", "--fusion", "deepen", "{method: bayes, rounds: 1}", "--weights", "entropy"])
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["main"], row["setting"]) for row in rows] == [
        (member, setting)
        for member in ("battuta", "polo")
        for setting in ("alone", "deepen, weights entropy", "bayes (rounds=1), weights entropy")
    ]
    for row in rows:
        assert len(row["outcomes"]) == row["questions"] == 3
        assert sum(row["derailments"].values()) == pytest.approx(row["derailed"][0], abs=0.2)
        assert ("right_gain" in row) == (row["setting"] != "alone")
    assert out.with_suffix(".md").read_text(encoding="utf-8") == markdown(rows)


def test_answers_are_those_that_the_main_model_gives_alone(models: Path) -> None:
    members, chains = load(models), ASKED[:2]
    alone = answered(members, Setting("egeria"), chains, max_tokens=8)
    weighted = answered(members, Setting("egeria", "bayes", weights=[0, 0, 1]), chains, max_tokens=8)
    assert alone.texts == weighted.texts
    assert alone.tokens == (8, 8)
    assert sum(alone.fused) == 0
