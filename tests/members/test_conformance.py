"""The laws of a member, for local models of every kind of tokenizer and of every way to remember."""

import warnings
from copy import deepcopy
from functools import cache

import pytest
import torch

from deepen_llm.members.base import Member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import MemberTests
from tests.models import small
from tests.tokenizers import SMALL

ARCHITECTURES = ["gpt_neox", "gpt2", "gemma", "sliding", "mpt", "gpt_neo", "longrope", "mamba"]
KINDS = [*(("llama", kind) for kind in SMALL), *((architecture, "byte_level_bpe") for architecture in ARCHITECTURES)]


@cache
def local(architecture: str, kind: str, *, broken: bool = False) -> LocalMember:
    model, tokenizer = small(architecture, kind)
    if broken:
        model = deepcopy(model)
        model.get_output_embeddings().weight.data[0] = torch.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "member .* reads the whole text afresh")
        return LocalMember(model, tokenizer)


class TestLocal(MemberTests):
    @pytest.fixture(params=KINDS, ids="-".join)
    def member(self, request: pytest.FixtureRequest) -> Member:
        return local(*request.param)

    @pytest.fixture
    def broken_member(self) -> Member:
        return local("llama", "byte_level_bpe", broken=True)
