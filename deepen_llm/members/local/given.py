"""Members made of the objects that callers pass, and the configurations that they can be loaded from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm.errors import ConfigError, suggestion
from deepen_llm.members.base import Member
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.member import LocalMember

AnyMember = Member | tuple[PreTrainedModel, PreTrainedTokenizerBase]


def as_member(value: object) -> Member:
    """The member itself, or a `LocalMember` of a model and its tokenizer.

    Raises:
        ConfigError: The value is neither a member nor such a pair.
        LoadError: The model is no causal language model.
        VocabularyError: The tokenizer does not fit the model.
    """
    if isinstance(value, Member):
        return value
    if (
        isinstance(value, tuple | list)
        and len(value) == 2
        and isinstance(value[0], nn.Module)
        and hasattr(value[0], "config")
    ):
        return LocalMember(*value)
    raise ConfigError(
        f"{value!r:.80} is no member: expected a Member or a pair (model, tokenizer)",
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
    for member in chosen:
        if not (member in names if isinstance(member, str) else 0 <= member < len(names)):
            raise ConfigError(
                f"{member!r} is no member of this ensemble{suggestion(member, names)}",
                hint=f"members are {', '.join(names)}; indices begin at 0",
            )
        index = names.index(member) if isinstance(member, str) else member
        if index in indices:
            raise ConfigError(f"{member!r} is named twice", hint="name every member once")
        indices.append(index)
    return indices
