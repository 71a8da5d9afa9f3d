"""What holds of every registered fusion method, and of how methods are registered."""

import pkgutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepen_llm.config import EnsembleConfig, EnsembleSettings
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import DEFAULT, METHODS, STARTING_METHODS, Exact, FusionMethod, Needs, Surface, methods
from deepen_llm.fusion.registry import by_name
from deepen_llm.fusion.tunable import Choice, Number
from deepen_llm.testing import FusibleMember, SpellingMember, random_logits, random_member
from tests.fusion.registered import FUSIONS

EACH = pytest.mark.parametrize("method", FUSIONS, ids=lambda method: method.method)
WEIGHTS = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [0.0, 0.6, 0.4], [0.1, 0.0, 0.9]])


THREE = [random_member(seed, 90 + seed, 60, 16, end_of_text=2) for seed in (1, 2, 3)]


def test_a_method_is_known_by_one_line_and_its_file_has_its_name() -> None:
    assert [one.name for one in pkgutil.iter_modules(methods.__path__)] == sorted(METHODS)
    for name, kind in METHODS.items():
        assert kind.__module__ == f"deepen_llm.fusion.methods.{name}"
        assert vars(methods)[kind.__name__] is kind
        assert kind.title
        assert kind.reference
        assert kind.needs
    assert DEFAULT.method in STARTING_METHODS


def test_the_documentation_lists_every_method_as_it_says_of_itself() -> None:
    rows = ["| `fusion=` | what it is | described in | needs of a member |", "|---|---|---|---|"]
    for name, kind in METHODS.items():
        needs = ", ".join(f"`{one.value}`" for one in Needs if one in kind.needs)
        rows.append(f"| `{name}` | {kind.title} | {kind.reference} | {needs} |")
    assert "\n".join(rows) in (Path(__file__).parents[2] / "docs/method.md").read_text(encoding="utf-8")


@EACH
def test_all_that_a_method_says_of_its_options_can_be_used(method: FusionMethod) -> None:
    kind, defaults = type(method), dict(type(method)(method=method.method))
    for options in kind.starts:
        assert kind(method=method.method, **options)
    assert kind.untuned <= kind.model_fields.keys()
    names = [one.name for one in kind.tunables]
    assert len(set(names)) == len(names)
    for one in kind.tunables:
        if isinstance(one, Choice):
            sets = [{**defaults, **options} for options in one.choices.values()]
            assert all(kind.model_fields.keys() >= options.keys() for options in one.choices.values())
            assert [one.narrowed([name]).held(values) for name, values in zip(one.choices, sets, strict=True)] == [
                *one.choices
            ]
            assert one.only is None
        else:
            assert isinstance(one, Number)
            assert one.name in kind.model_fields
            assert one.low < one.high
            assert one.held({one.name: one.high}) == one.high
            assert one.held({one.name: one.high + 1}) is None
        if one.only:
            assert one.only[0] in names[: names.index(one.name)]


@EACH
def test_identical_members_keep_their_logits(method: FusionMethod) -> None:
    logits = random_logits(THREE[0], 4, 5)
    fused = method.prepare([THREE[0]] * 3, 1).fuse([logits] * 3, WEIGHTS)
    if method.method == "deepen":  # its optimiser divides the rounding of a gradient of 0 by its own size
        assert torch.equal(fused.argmax(-1), logits.argmax(-1))
        return
    torch.testing.assert_close(fused, logits, atol=1e-4, rtol=0)  # a repetition penalty depends on their scale, too


@EACH
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.0, 1.0, 5.0, 40.0, 400.0]))
@settings(max_examples=12, deadline=None)
def test_it_is_a_distribution_however_sure_members_are(method: FusionMethod, seed: int, scale: float) -> None:
    logits = [random_logits(member, 4, seed + place, scale) for place, member in enumerate(THREE)]
    fused = method.prepare(THREE, 0).fuse(logits, WEIGHTS)
    assert not fused.isnan().any()
    torch.testing.assert_close(fused.softmax(-1).sum(-1), torch.ones(4))
    assert torch.equal(fused[1], logits[0][1])  # all weight on the main model: its own logits to the bit


@EACH
def test_it_is_a_distribution_where_others_are_sure_of_tokens_that_the_main_model_lacks(method: FusionMethod) -> None:
    known = THREE[0].vocabulary.ids.keys()
    logits = [random_logits(THREE[0], 1, 7)]
    for member in THREE[1:]:
        lacking = torch.tensor([surface is not None and surface not in known for surface in member.vocabulary.surfaces])
        assert lacking.any()
        logits.append(torch.where(lacking, 0.0, -1000.0)[None])
    fused = method.prepare(THREE, 0).fuse(logits, torch.tensor([[0.0, 0.5, 0.5]]))
    assert not fused.isnan().any()
    torch.testing.assert_close(fused.softmax(-1).sum(-1), torch.ones(1))


@EACH
def test_places_are_fused_each_on_its_own_and_nothing_given_is_changed(method: FusionMethod) -> None:
    logits = [random_logits(member, 4, 3) for member in THREE]
    before = [one.clone() for one in logits]
    fusion = method.prepare(THREE, 0)
    whole = fusion.fuse(logits, WEIGHTS)
    for place in range(4):
        alone = fusion.fuse([one[place : place + 1] for one in logits], WEIGHTS[place : place + 1])
        torch.testing.assert_close(whole[place].softmax(-1), alone[0].softmax(-1), atol=1e-6, rtol=0)
    assert all(torch.equal(*pair) for pair in zip(logits, before, strict=True))
    assert fusion.vocabulary is THREE[0].vocabulary


@EACH
def test_a_token_that_others_prefer_gains(method: FusionMethod) -> None:
    """One that all have; exact surfaces, anchors and spelling all relate it to itself."""
    surface = next(one for one in THREE[0].vocabulary.surfaces if one and one.startswith(b"s"))
    logits = [random_logits(member, 1, 3, scale=0.1) for member in THREE]
    for one, member in zip(logits[1:], THREE[1:], strict=True):
        one[0, member.vocabulary.ids[surface]] += 8
    token = THREE[0].vocabulary.ids[surface]
    fused = method.prepare(THREE, 0).fuse(logits, WEIGHTS[:1])
    assert fused.softmax(-1)[0, token] > logits[0].softmax(-1)[0, token]


@EACH
def test_a_configuration_file_holds_it(method: FusionMethod, tmp_path: Any) -> None:
    EnsembleConfig(members=("a", "b"), fusion=method).save(tmp_path / "e.yaml")
    assert EnsembleConfig.load(tmp_path / "e.yaml").fusion == method


class Own(Surface):
    """One of a user's own, with a name that is taken."""


class Unnamed(FusionMethod):
    """One without a name."""

    title: ClassVar[str] = "nothing"
    reference: ClassVar[str] = "none"


class Twice(Surface):
    """One more of a name."""


def test_a_method_of_ones_own_is_used_as_an_object_and_by_no_name(tmp_path: Any) -> None:
    assert EnsembleSettings(fusion=Own()).fusion == Own()
    assert METHODS["surface"] is Surface
    with pytest.raises(ConfigError, match=r"no configuration file holds a fusion method of your own \(Own\)"):
        EnsembleConfig(members=("a", "b"), fusion=Own()).save(tmp_path / "e.yaml")
    assert not list(tmp_path.iterdir())


def test_names_that_are_taken_or_missing_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one fusion method named 'surface', got Surface and Twice"):
        by_name(SimpleNamespace(Surface=Surface, Twice=Twice))
    with pytest.raises(ValueError, match="in the fusion method Unnamed, got"):
        by_name(SimpleNamespace(Unnamed=Unnamed))


def without_embedding(member: SpellingMember) -> SpellingMember:
    return replace(member, embedding=cast("Tensor", None), missing_embedding="are away")


@EACH
def test_who_needs_no_embeddings_looks_at_none(method: FusionMethod) -> None:
    members = [without_embedding(one) for one in THREE]
    if Needs.EMBEDDING in method.required:
        with pytest.raises(ConfigError, match="the token embeddings of member"):
            method.prepare(members, 0)
        return
    logits = [random_logits(one, 4, 3) for one in THREE]
    method.prepare(members, 0).fuse(logits, WEIGHTS)


@pytest.mark.parametrize("choice", ["consistent", "spread"])
def test_exact_needs_embeddings_where_it_chooses_tokens_by_them(choice: Literal["consistent", "spread"]) -> None:
    method = Exact(choice={"anchor_choice": choice, "anchor_count": 9})
    assert method.required == {Needs.EMBEDDING, Needs.FULL_LOGITS}
    assert Exact().required == {Needs.FULL_LOGITS}
    with pytest.raises(ConfigError, match="the token embeddings of member"):
        method.prepare([without_embedding(one) for one in THREE], 0)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_exact_is_its_formula(mean: Literal["arithmetic", "geometric"]) -> None:
    logits = [random_logits(one, 4, 3) for one in THREE]
    fused = Exact(mean=mean).prepare(THREE, 0).fuse(logits, WEIGHTS).softmax(-1)
    p = [_one_end(one.softmax(-1), member) for one, member in zip(logits, THREE, strict=True)]
    end = THREE[0].vocabulary.end_of_text[0]
    wanted = torch.zeros_like(p[0])
    for place in (0, 2, 3):
        for token in range(p[0].shape[1] - 1):  # the last one is the end of text a second time
            has = {
                i: member.vocabulary.end_of_text[0]
                if token == end
                else member.vocabulary.ids[THREE[0].vocabulary.surfaces[token]]  # type: ignore[index]
                for i, member in enumerate(THREE)
                if token == end or THREE[0].vocabulary.surfaces[token] in member.vocabulary.ids
            }
            weights = WEIGHTS[place, list(has)]
            said = torch.stack([p[i][place, id_] for i, id_ in has.items()])
            if not weights.sum():
                wanted[place, token] = p[0][place, token]
            elif mean == "arithmetic":
                wanted[place, token] = (weights * said).sum() / weights.sum()
            else:
                wanted[place, token] = (weights * said.log()).sum().div(weights.sum()).exp()
        wanted[place] /= wanted[place].sum()
        torch.testing.assert_close(_one_end(fused, THREE[0])[place], wanted[place])


def _one_end(p: Tensor, member: FusibleMember) -> Tensor:
    """Distributions whose end of text is its first id alone."""
    first, *others = member.vocabulary.end_of_text
    p = p.clone()
    p[:, first] += p[:, others].sum(-1)
    p[:, others] = 0
    return p


def test_where_every_token_is_impossible_to_some_member_the_main_model_decides() -> None:
    logits = [torch.full((1, one.vocabulary.size), -torch.inf) for one in THREE[:2]]
    surfaces = [one for one in THREE[0].vocabulary.surfaces if one and one.startswith(b"s")][:2]
    for one, member, surface in zip(logits, THREE, surfaces, strict=False):
        one[0, member.vocabulary.ids[surface]] = 0.0
    fused = Exact(mean="geometric").prepare(THREE[:2], 0).fuse(logits, torch.tensor([[0.5, 0.5]]))
    assert fused.softmax(-1)[0, THREE[0].vocabulary.ids[surfaces[0]]] == 1


def test_a_geometric_mean_wants_everyone_to_find_a_token_possible() -> None:
    vocabulary = THREE[0].vocabulary
    first, second = (vocabulary.ids[one] for one in vocabulary.surfaces[:2] if one)
    logits = [torch.full((1, vocabulary.size), -9.0) for _ in range(2)]
    logits[0][0, first], logits[1][0, first] = 4.0, -30.0
    logits[0][0, second], logits[1][0, second] = 2.0, -3.0
    logits[1][0, -1] = 9.0
    fused = {
        mean: int(Exact(mean=mean).prepare([THREE[0]] * 2, 0).fuse(logits, torch.tensor([[0.9, 0.1]])).argmax())
        for mean in ("arithmetic", "geometric")
    }
    assert fused == {"arithmetic": first, "geometric": second}
