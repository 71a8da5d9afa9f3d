"""A model's context window and the size of its key-value cache, by its configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from deepen_llm.errors import DeepenError, LoadError
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.files import find_adapter

_WINDOW_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")


def window_in(config: PretrainedConfig) -> int | None:
    """A model's context window in tokens; None where it has no bound.

    Args:
        config: The model's configuration.
    """
    text: Any = config.get_text_config(decoder=True)
    return next((int(value) for name in _WINDOW_NAMES if (value := getattr(text, name, None) or 0) > 0), None)


def bytes_per_token(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Bytes of a model's key-value cache for each token; 0 where the configuration does not show it.

    Args:
        config: The model's configuration.
        dtype: The type of keys and values.
    """
    text: Any = config.get_text_config(decoder=True)
    layers, heads = getattr(text, "num_hidden_layers", 0), getattr(text, "num_attention_heads", 0)
    if not (layers and heads):
        return 0
    kept = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or getattr(text, "hidden_size", 0) // heads
    return int(2 * layers * kept * width * dtype.itemsize)


def declared_window(members: Iterable[MemberConfig], *, local_files_only: bool = False) -> int | None:
    """The smallest context window of members, without loading weights; None where none is known.

    Args:
        members: Where they come from.
        local_files_only: Do not use the hub; a member that is not on this machine yet cannot be read.

    Raises:
        LoadError: A member's configuration cannot be read.
    """
    windows = [_window_of(member, local_files_only) for member in members]
    return min((window for window in windows if window is not None), default=None)


def _window_of(member: MemberConfig, local_files_only: bool) -> int | None:
    try:
        adapter = find_adapter(member.path, revision=member.revision, local_files_only=local_files_only)
        return window_in(
            AutoConfig.from_pretrained(
                adapter.base if adapter else member.path,
                revision=adapter.base_revision if adapter else member.revision,
                trust_remote_code=member.trust_remote_code,
                local_files_only=local_files_only,
            )
        )
    except DeepenError:
        raise
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise LoadError(
            f"the configuration of member {member.label} cannot be read: {error}",
            hint="give a folder that save_pretrained wrote, or a hub id that can be reached",
        ) from error
