"""How long a text a member reads, told from its configuration file alone."""

from __future__ import annotations

from transformers import AutoConfig

from deepen_llm.config import MemberConfig

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")


def window_of(member: MemberConfig) -> int | None:
    """A member's context window; None where it is not on this machine yet, or knows no bound."""
    try:
        config = AutoConfig.from_pretrained(
            member.path,
            revision=member.revision,
            trust_remote_code=member.trust_remote_code,
            local_files_only=True,
        )
    except (OSError, ValueError, ImportError, KeyError):
        return None
    text = config.get_text_config(decoder=True)
    return next((int(value) for name in _NAMES if (value := getattr(text, name, None) or 0) > 0), None)
