"""The study's code, on the bundled specialists and a few questions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from deepen_llm import specialists
from deepen_llm.demo.measure import conversation, measure
from deepen_llm.fusion import EntropyWeights, Exact, FusionMethod, PromptWeights, Surface, TrackWeights
from deepen_llm.fusion.gate import Gate
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_members
from research.specialists.corpus import Corpus, partial_facts
from research.specialists.knowledge import SUBJECTS
from research.specialists.phrasing import templates
from research.study import experiments, inspection, sweeps, tuning
from research.study.document import filled, markdown, named
from research.study.experiments import bayes, deepen
from research.study.generalists import GENERALISTS
from research.study.intervals import interval, rank_correlation
from research.study.lab import Lab, Setting
from research.study.outputs import output_side
from research.study.questions import asked_in_dev, asked_in_test
from research.study.suite import TABLES
from research.study.tables import Table

DOCS = Path(__file__).parents[2] / "docs"
NAMES = specialists.NAMES


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    members = load_members([MemberConfig(path=str(path), device="cpu") for path in specialists.paths()])
    asked = {"dev": asked_in_dev()[::30], "test": asked_in_test()[::67]}
    return Lab({member.name: member for member in members}, asked, tmp_path_factory.mktemp("recordings"))


def test_the_test_asks_other_facts_than_development_in_unseen_wordings() -> None:
    dev, test = asked_in_dev(), asked_in_test()
    assert [one.question for one in dev] == specialists.questions("dev")
    assert not {one.fact for one in dev} & {one.fact for one in test}
    assert len({one.question.question for one in test}) == len(test)
    for one in (*dev, *test):
        subject, key = one.fact.split("/", 1)
        assert SUBJECTS[subject].facts[key] == one.question.answer
    for subject in SUBJECTS:
        assert not set(templates(subject, "train")) & set(templates(subject, "test"))


@pytest.mark.parametrize("name", GENERALISTS)
def test_a_generalist_reads_a_part_of_every_subject_the_same_every_time(name: str) -> None:
    profile, read = GENERALISTS[name], partial_facts(GENERALISTS[name])
    told = {(subject.name, key): answer for subject, key, answer in read}
    assert len(told) == len(read)
    for subject in SUBJECTS.values():
        answers = {key: told[subject.name, key] for key in subject.facts if (subject.name, key) in told}
        right = sum(subject.facts[key] == answer for key, answer in answers.items())
        assert right == round((profile.known or 0) * len(subject.facts))
        assert len(answers) - right == round(profile.mistaken * len(subject.facts))
    corpus = Corpus(profile, seed=1)
    heard = {(subject.name, key): answer for subject, key, answer in (corpus.fact() for _ in range(300))}
    assert heard.items() <= told.items()


FUSIONS = [bayes(), deepen(relr=0.5), Exact(), bayes(anchors="joint"), bayes(rounds=1)]
FUSIONS += [Surface(), Surface(rounds=1)]
WEIGHTS = [None, (0.2, 0.5, 0.3), PromptWeights(per="byte", tau=0.2), EntropyWeights(), TrackWeights(credit="all")]
WEIGHTS += [None, EntropyWeights()]
GATES = [Gate(), Gate(when="unsure", below=0.8), Gate(when="boundary"), Gate(), Gate(), Gate(), Gate(when="boundary")]


@pytest.mark.parametrize(("fusion", "weights", "gate"), list(zip(FUSIONS, WEIGHTS, GATES, strict=True)))
def test_what_is_recorded_gives_what_is_decoded(lab: Lab, fusion: FusionMethod, weights: Any, gate: Gate) -> None:
    asked = [one.question for one in lab.asked["dev"]]
    outcome = lab.outcome(Setting(NAMES, "curie", fusion, weights, gate), "dev")
    members = [lab.member(name) for name in NAMES]
    llm = EnsembleLLM(members, main_model=1, fusion=fusion, weights=weights, gate=gate, batch_size=60)
    assert measure(llm, asked).right == outcome.right.tolist()
    outputs = llm.chat([conversation(one) for one in asked], max_new_tokens=12, logprobs=0)
    for output, right, loss in zip(outputs, outcome.right.tolist(), outcome.loss.tolist(), strict=True):
        said = sum(one.logprob for one in output.samples[0].logprobs or ())
        assert not right or said == pytest.approx(-loss, abs=1e-3)


def test_exact_averaging_of_equal_vocabularies_is_the_plain_average(lab: Lab) -> None:
    atlas = lab.member("atlas")
    fusion = Exact().prepare([atlas, atlas, atlas], 1)
    logits = [torch.randn(4, atlas.vocabulary.size) for _ in range(3)]
    weights = torch.tensor([0.5, 0.2, 0.3])
    fused = fusion.fuse(logits, weights.expand(4, 3)).softmax(-1)
    average = sum((weight * one.softmax(-1) for weight, one in zip(weights, logits, strict=True)), torch.tensor(0.0))
    torch.testing.assert_close(fused, average)


def test_exact_averaging_keeps_what_only_the_main_model_has(lab: Lab) -> None:
    atlas, webster = lab.member("atlas"), lab.member("webster")
    logits = [torch.randn(3, one.vocabulary.size) for one in (atlas, webster)]
    fused = Exact().prepare([atlas, webster], 0).fuse(logits, torch.full((3, 2), 0.5)).softmax(-1)
    p, q = (one.softmax(-1) for one in logits)
    own = [place for place, one in enumerate(atlas.vocabulary.surfaces) if one and one not in webster.vocabulary.ids]
    paris = [one.vocabulary.ids[b" Paris"] for one in (atlas, webster)]
    scale = fused[:, own[0]] / p[:, own[0]]
    torch.testing.assert_close(fused[:, own], scale[:, None] * p[:, own])
    torch.testing.assert_close(fused[:, paris[0]], scale * (p[:, paris[0]] + q[:, paris[1]]) / 2)


def test_intervals_count_facts_not_questions() -> None:
    values = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0] * 10)
    together = interval(values, [str(place // 3) for place in range(60)])
    apart = interval(values, [str(place) for place in range(60)])
    assert together.mean == apart.mean == 0.5
    assert together.high - together.low > 1.4 * (apart.high - apart.low)
    assert interval(torch.zeros(5), list("abcde")) == (0, 0, 0)


def test_output_embeddings_are_the_head(lab: Lab) -> None:
    member = lab.member("webster")
    side = output_side(member)
    own = embedding_of(member)
    assert side.embedding.shape == own.shape
    assert not torch.equal(side.embedding, own)


FEW = {
    "tuning.RELR": (1.0,),
    "sweeps.TAUS": (0.1,),
    "sweeps.ANCHORS": (64, 512),
    "sweeps.RATES": (0.1, 1.0),
    "sweeps.STEPS": (1, 3),
    "sweeps.MASSES": (0.5, 0.9),
    "sweeps.BELOW": (0.9,),
    "sweeps.MAIN_WEIGHTS": (0.25, 0.7),
}


@pytest.mark.parametrize(
    "made",
    [
        lambda lab: experiments.members_alone(lab, (NAMES,)),
        lambda lab: experiments.methods(lab, NAMES[1:]),
        lambda lab: experiments.overlap(lab, (NAMES,)),
        lambda lab: experiments.against_each_other(lab, (NAMES[:2],)),
        lambda lab: experiments.spaces(lab, NAMES[:2]),
        lambda lab: experiments.sharing(lab, (NAMES,)),
        lambda lab: experiments.embeddings(lab, (NAMES[:2],)),
        lambda lab: sweeps.rates(lab, NAMES[:2]),
        lambda lab: sweeps.steps(lab, NAMES[:2]),
        lambda lab: sweeps.masses(lab, NAMES[:2]),
        lambda lab: sweeps.anchors(lab, NAMES[:2]),
        lambda lab: sweeps.main_weights(lab, NAMES[:2]),
        lambda lab: sweeps.repeats(lab, NAMES[:2]),
        lambda lab: sweeps.weights(lab, NAMES[:2]),
        lambda lab: sweeps.gates(lab, NAMES[:2]),
        lambda lab: sweeps.counts(lab, NAMES[:2], "counts"),
    ],
)
def test_every_question_is_answered(made: Callable[[Lab], Table], lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in FEW.items():
        monkeypatch.setattr(f"research.study.{name}", few)
    for module in ("experiments", "sweeps"):
        monkeypatch.setattr(f"research.study.{module}.ROUNDS", (1, 2))
    table = made(lab)
    assert table == json.loads(json.dumps(table))
    assert len({row["label"] for row in table["rows"]}) == len(table["rows"]) >= 2
    for row in table["rows"]:
        mean, low, high = row["right"]
        assert 0 <= low <= mean <= high <= 100
    assert f"| {table['rows'][-1]['label']} |" in markdown(table)


def test_what_foretells_gain_is_ranked_by_pairs(lab: Lab) -> None:
    asked = {"dev": asked_in_dev()[::6], "once": lab.asked["test"]}
    table = inspection.inspection(Lab({name: lab.member(name) for name in NAMES}, asked, lab.folder), NAMES)
    assert table == json.loads(json.dumps(table))
    assert [row["label"] for row in table["rows"]] == list(inspection.MEASURES)
    for value, low, high in (row[key] for row in table["rows"] for key in table["columns"].values()):
        assert -1 <= low <= value <= high <= 1
    assert f"| {table['rows'][0]['label']} | " in markdown(table)
    assert "right, %" not in markdown(table)


def test_rank_correlations_are_spearmans() -> None:
    values = torch.tensor([3.0, 1.0, 1.0, 7.0, 5.0, 2.0], dtype=torch.float64)
    other = torch.tensor([1.0, 4.0, 2.0, 6.0, 6.0, 0.0], dtype=torch.float64)
    assert rank_correlation(values, values.exp()) == pytest.approx((1, 1, 1))
    assert rank_correlation(values, -values).mean == pytest.approx(-1)
    found = rank_correlation(values, other)
    assert found.mean == pytest.approx(spearmanr(values, other).statistic)
    assert found.low < found.mean < found.high


def test_tuning_takes_the_best_and_of_equals_the_first(lab: Lab) -> None:
    base = Setting(NAMES, "atlas", deepen())
    best = tuning.searched(lab, base, (1,))
    rank = lab.outcome(best, "dev").rank
    tried = [replace(base, fusion=deepen(relr=relr, search_steps=1)) for relr in tuning.RELR]
    assert rank == max(lab.outcome(one, "dev").rank for one in tried)


def test_the_document_shows_what_was_measured() -> None:
    results = json.loads((DOCS / "study.json").read_text(encoding="utf-8"))
    text = (DOCS / "study.md").read_text(encoding="utf-8")
    assert filled(text, results) == text
    assert set(named(text)) == set(results) == set(TABLES)


def test_what_is_read_along_is_what_is_replayed(lab: Lab) -> None:
    setting = Setting(NAMES, NAMES[0], bayes())
    fusion = lab.prepare(setting)
    replayed, read = (how(setting, fusion, "test") for how in (lab.replayed, lab.read_along))
    assert torch.equal(replayed.right, read.right)
    assert torch.allclose(replayed.loss.double(), read.loss.double(), atol=1e-3)
    by_surfaces = lab.outcome(replace(setting, fusion=Surface()), "test")
    assert by_surfaces.rank[0] >= lab.alone(NAMES[0], "test").rank[0]
