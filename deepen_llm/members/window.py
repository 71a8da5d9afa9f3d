"""How long a text a model reads, told by its configuration."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from deepen_llm.config import MemberConfig

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")  # what families call it


def window_in(config: PretrainedConfig) -> int | None:
    """A model's context window in tokens; None where it knows no bound.

    Args:
        config: The model's configuration.
    """
    text: Any = config.get_text_config(decoder=True)
    return next((int(value) for name in _NAMES if (value := getattr(text, name, None) or 0) > 0), None)


def window_of(member: MemberConfig, *, local_files_only: bool = False) -> int | None:
    """A member's context window, without loading its weights.

    Args:
        member: Where the member comes from.
        local_files_only: Ask no hub.

    Raises:
        OSError: Its configuration cannot be read.
        ValueError: It is none that `transformers` knows.
    """
    return window_in(
        AutoConfig.from_pretrained(
            member.path,
            revision=member.revision,
            trust_remote_code=member.trust_remote_code,
            local_files_only=local_files_only,
        )
    )
