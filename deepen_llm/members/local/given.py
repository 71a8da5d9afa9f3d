"""Members as callers give them, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.members.base import Member
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.member import LocalMember

AnyMember = Member | tuple[PreTrainedModel, PreTrainedTokenizerBase]


def as_member(given: object) -> Member:
    """A member, or the member that a model and its tokenizer make.

    Raises:
        ConfigError: It is neither.
        LoadError: The model is no causal language model.
        VocabularyError: The tokenizer does not fit the model.
    """
    if isinstance(given, Member):
        return given
    if (
        isinstance(given, tuple | list)
        and len(given) == 2
        and isinstance(given[0], nn.Module)
        and hasattr(given[0], "config")
    ):
        return LocalMember(*given)
    raise ConfigError(
        f"{given!r:.80} is no member: expected a Member or a pair (model, tokenizer)",
        hint="load hub ids, folders and configuration files with EnsembleLLM.from_pretrained",
    )


def source_of(member: Member) -> MemberConfig:
    """Where a member can be loaded from.

    Raises:
        ConfigError: It lives in memory only.
    """
    path = getattr(getattr(member, "model", None), "name_or_path", "")
    if member.source is None and not path:
        raise ConfigError(
            f"member {member.name} lives in memory only, so no configuration can name it",
            hint="save the model and its tokenizer with save_pretrained and load them from there",
        )
    return member.source or MemberConfig(path=str(path), name=member.name)


def indices_of(chosen: Sequence[int | str], members: Sequence[Member]) -> list[int]:
    """The indices of some members.

    Args:
        chosen: Their names or indices.
        members: All members.

    Raises:
        ConfigError: No member has such a name or index, or one is chosen twice.
    """
    if not isinstance(chosen, Sequence):
        raise ConfigError(
            f"expected names or indices of members, got {chosen!r:.200}", hint="give a list, such as [0, 2]"
        )
    names, indices = [member.name for member in members], list[int]()
    for one in chosen:
        if not (one in names if isinstance(one, str) else 0 <= one < len(names)):
            raise ConfigError(
                f"{one!r} is no member of this ensemble{suggestion(one, names)}",
                hint=f"members are {', '.join(names)}; indices begin at 0",
            )
        index = names.index(one) if isinstance(one, str) else one
        if index in indices:
            raise ConfigError(f"{one!r} is named twice", hint="name every member once")
        indices.append(index)
    return indices
