"""An ensemble of two members with different vocabularies, for callers that share it."""

import pytest

from deepen_llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember
from tests.models import small


@pytest.fixture(scope="module")
def members() -> list[LocalMember]:
    kinds = (("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe"))
    return [LocalMember(*small(*kind, seed=seed)) for seed, kind in enumerate(kinds)]


@pytest.fixture
def llm(members: list[LocalMember]) -> EnsembleLLM:
    return EnsembleLLM(members)
