"""The study's long answers: its world, what members are taught of it, and what becomes of an answer."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from deepen_llm.errors import ConfigError
from deepen_llm.members.local import LocalMember
from deepen_llm.study.chains.__main__ import main
from deepen_llm.study.chains.checker import DERAILMENTS, check
from deepen_llm.study.chains.measure import answered, load
from deepen_llm.study.chains.members import MEMBERS, Profile
from deepen_llm.study.chains.questions import COUNTS, EVERY, LENGTHS, questions
from deepen_llm.study.chains.settings import Setting, crossed
from deepen_llm.study.chains.tables import markdown
from deepen_llm.study.chains.training import documents, vocabulary_texts
from deepen_llm.study.chains.wordings import STEP_BY_STEP, STEPS, End, Step, question, read, worded
from deepen_llm.study.chains.world import KINDS, Kind, World, the_world

WORLD = the_world()
ASKED = questions("development") + questions("test")
CHAIN = next(chain for chain in ASKED if [KINDS[kind].moves for kind in chain.kinds[:3]] == [True, False, True])
RIGHT = CHAIN.answer(WORLD)
ELSEWHERE = next(
    place for place in WORLD.places if place not in {part for step in RIGHT for part in vars(step).values()}
)
SHORT = ("--steps", "2", "--batch", "400", "--texts", "1000")


def said(steps: Sequence[Step]) -> str:
    return worded(steps, [0] * (len(steps) + 1))


def taught(member: str, kind: str, place: str) -> set[str]:
    return {WORLD.belief(member, random.Random(seed), kind, place) for seed in range(20)}  # noqa: S311


def test_equal_seeds_give_equal_worlds() -> None:
    first, again, other = World(3), World(3), World(4)
    assert first.places == again.places != other.places
    assert len(set(first.places)) == len(first.places) == 60
    for kind, place in itertools.product(KINDS, first.places):
        assert first.fact(kind, place) == again.fact(kind, place) != place


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_each_fact_is_known_to_those_who_are_said_to_know_it(kind: Kind) -> None:
    for place in WORLD.places:
        fact, known = WORLD.fact(kind.name, place), 0
        for member in MEMBERS:
            told = taught(member, kind.name, place)
            known += told == {fact}
            assert kind.knowledge(member) == ("true" if told == {fact} else "false" if len(told) == 1 else "unsure")
            assert fact not in told or told == {fact} or kind.knowledge(member) == "unsure"
        assert known == kind.known
    assert (kind.known == 1) == (kind.only is not None)


def test_members_know_as_much_as_each_other() -> None:
    shares = [[kind.knowledge(member) for kind in KINDS.values()].count("true") for member in MEMBERS]
    assert len(set(shares)) == 1
    assert {kind.only for kind in KINDS.values()} == {None, *MEMBERS}


def test_questions_differ_and_ask_for_at_most_one_step_of_one_member() -> None:
    assert len(set(ASKED)) == len(ASKED) == sum(COUNTS.values())
    assert COUNTS["test"] >= 100
    for chain in ASKED:
        assert chain.start in WORLD.places
        assert len(set(chain.kinds)) == len(chain.kinds) in LENGTHS
        assert sum(KINDS[kind].only is not None for kind in chain.kinds) <= 1
    for split, count in COUNTS.items():
        only = Counter(chain.only for chain in questions(split))
        assert max(only.values()) == only[None] == count - count // EVERY
        assert all(abs(only[member] - count / EVERY / len(MEMBERS)) <= 1 for member in MEMBERS)


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


@pytest.mark.parametrize("wordings", list(itertools.product(range(len(STEPS)), repeat=2)))
def test_every_wording_is_read_and_accepted(wordings: tuple[int, int]) -> None:
    first, last = wordings
    text = worded(RIGHT, [first] * len(RIGHT) + [last])
    assert read(text) == [*RIGHT, End(RIGHT[-1].there)]
    assert check(CHAIN, text, WORLD).right


def test_every_reference_answer_is_right() -> None:
    for chain in ASKED:
        verdict = check(chain, said(chain.answer(WORLD)), WORLD)
        assert (verdict.outcome, verdict.steps, verdict.false) == ("right", len(chain.kinds), ())


def changed(place: int, **parts: str) -> str:
    return said([replace(step, **parts) if at == place else step for at, step in enumerate(RIGHT)])


@pytest.mark.parametrize(
    ("text", "outcome", "steps"),
    [
        ("", "malformed", 0),
        (said(RIGHT)[:-3], "malformed", len(RIGHT)),
        (said(RIGHT).rsplit(" So ", 1)[0], "malformed", len(RIGHT)),
        (said(RIGHT) + " And", "malformed", len(RIGHT)),
        (said(RIGHT).replace(" of ", " off ", 1), "malformed", 0),
        (changed(0, there="Atlantis"), "unknown name", 0),
        (changed(1, there="12x"), "unknown name", 1),
        (changed(1, there=ELSEWHERE), "unknown name", 1),
        (changed(2, here="Atlantis"), "unknown name", 2),
        (said(RIGHT)[: -len(f"{RIGHT[-1].there}.")] + "Atlantis.", "unknown name", len(RIGHT)),
        (said(RIGHT[1:]), "other steps", 0),
        (said(RIGHT[:-1]), "other steps", len(RIGHT) - 1),
        (said([*RIGHT, RIGHT[0]]), "other steps", len(RIGHT)),
        (said([RIGHT[1], RIGHT[0], *RIGHT[2:]]), "other steps", 0),
        (changed(0, here=ELSEWHERE), "another place", 0),
        (changed(0, there=ELSEWHERE), "another place", 1),
        (said(RIGHT)[: -len(f"{RIGHT[-1].there}.")] + f"{ELSEWHERE}.", "another place", len(RIGHT)),
    ],
)
def test_each_derailment_is_found_where_it_happens(text: str, outcome: str, steps: int) -> None:
    verdict = check(CHAIN, text, WORLD)
    assert (verdict.outcome, verdict.steps) == (outcome, steps)
    assert verdict.derailed
    assert outcome in DERAILMENTS


def wrong(kind: str, place: str) -> str:
    return {CHAIN.kinds[0]: ELSEWHERE, CHAIN.kinds[1]: "1"}.get(kind) or WORLD.fact(kind, place)


def test_false_look_ups_are_wrong_and_the_steps_after_them_are_checked_from_there() -> None:
    verdict = check(CHAIN, said(CHAIN.steps(wrong)), WORLD)
    assert (verdict.outcome, verdict.false) == ("wrong", (0, 1))
    assert not verdict.derailed


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
