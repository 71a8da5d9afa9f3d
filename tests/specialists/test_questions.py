"""The question sets: balanced, answerable, and worded as no training text is."""

import itertools
import re
from collections import Counter
from typing import Literal

import pytest

from deepen_llm.errors import ConfigError
from deepen_llm.specialists import NAMES, Question, questions
from research.specialists.corpus import Corpus
from research.specialists.knowledge import SUBJECTS
from research.specialists.phrasing import (
    CLOSINGS,
    FRAMES,
    NAMINGS,
    OPENINGS,
    STATEMENTS,
    SYSTEMS,
    WORDINGS,
    Split,
    fill,
    templates,
)
from research.specialists.profiles import PROFILES
from research.specialists.recipe import PER_SUBJECT, chosen_facts, make_questions

HELD_OUT: tuple[Literal["dev", "test"], ...] = ("dev", "test")
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\s?.,:!]+", text.lower()))


@pytest.mark.parametrize("split", HELD_OUT)
def test_sets_are_what_the_recipe_makes(split: Literal["dev", "test"]) -> None:
    assert questions(split) == [Question(**record) for record in make_questions(split)]


@pytest.mark.parametrize("split", HELD_OUT)
def test_sets_are_balanced_and_right(split: Literal["dev", "test"]) -> None:
    found = questions(split)
    assert Counter(q.subject for q in found) == dict.fromkeys(SUBJECTS, PER_SUBJECT)
    assert all(q.answer in SUBJECTS[q.subject].answers for q in found)
    assert len({q.question for q in found}) == len(found)


def test_sets_share_no_question_and_no_sum() -> None:
    assert not {q.question for q in questions("dev")} & {q.question for q in questions("test")}
    sums = SUBJECTS["sums"]
    assert not set(chosen_facts(sums, "dev", seed=7)) & set(chosen_facts(sums, "test", seed=7))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_wording_is_in_two_splits(subject: str) -> None:
    for one, other in itertools.combinations(SPLITS, 2):
        assert not set(templates(subject, one)) & set(templates(subject, other))
        assert not set(FRAMES[one]) & set(FRAMES[other])


@pytest.mark.parametrize("split", HELD_OUT)
def test_no_held_out_question_could_be_read_in_training(split: Literal["dev", "test"]) -> None:
    held_out = {q.question for q in questions(split)}
    bare = {re.sub(r"^.*?[!:.] (?=[A-Z])", "", question) for question in held_out}
    for subject in SUBJECTS.values():
        forms = set(templates(subject.name, "train"))
        read = {fill(form, key) for form in forms for key in subject.facts}
        wrapped = {opening + text + closing for opening in OPENINGS for text in read for closing in CLOSINGS}
        assert not wrapped & held_out
        assert not read & bare


@pytest.mark.parametrize("name", NAMES)
def test_no_held_out_question_is_read_in_training(name: str) -> None:
    corpus = Corpus(PROFILES[name], seed=7)
    read = {corpus.exchange()[0] for _ in range(2000)}
    assert not read & {q.question for q in (*questions("dev"), *questions("test"))}


def test_held_out_wordings_use_words_of_training() -> None:
    seen = set().union(
        *(words(form) for name in SUBJECTS for form in templates(name, "train")),
        *(words(text) for text in (*OPENINGS, *CLOSINGS, *SYSTEMS)),
        *(words(form) for forms in STATEMENTS.values() for form in forms),
    )
    held_out: set[str] = set()
    for name in SUBJECTS:
        for split in HELD_OUT:
            held_out |= set().union(*(words(form) for form in templates(name, split)))
    assert held_out <= seen


def test_every_subject_is_worded_and_owned_once() -> None:
    assert set(NAMINGS) == set(STATEMENTS) == set(SUBJECTS)
    assert all(set(WORDINGS[split]) == set(SUBJECTS) for split in SPLITS)
    owned = [subject for profile in PROFILES.values() for subject in profile.subjects]
    assert sorted(owned) == sorted(SUBJECTS)


def test_answers_are_one_capitalised_word() -> None:
    assert all(re.fullmatch(r"[A-Z][a-z]+", a) for subject in SUBJECTS.values() for a in subject.answers)


def test_an_unknown_set_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="expected the split 'dev' or 'test', got 'train'"):
        questions("train")  # type: ignore[arg-type]
