"""Keys for what is kept on disk: equal keys mean that computing again would give the same."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import tokenizers
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

from deepen_llm.storage import store
from deepen_llm.storage.version import __version__

_MAKERS = (transformers.__version__, tokenizers.__version__)
_TOKENIZER_SUFFIXES = {".json", ".model", ".tiktoken", ".txt", ".vocab", ".spm", ".bpe"}
_TOKENS = 256  # tokens in memory that are compared with those of the files
_NO_CONFIG = {"_name_or_path", "transformers_version"}  # where it lies, and who wrote it
_ROWS, _COLUMNS = 64, 8  # of an embedding, at least


def fingerprint(parts: Iterable[object]) -> str:
    """A key out of this package's version and parts that tell all by their `repr`: strings, numbers, bytes, tuples."""
    return blake2b(
        repr((store.FORMAT, __version__, *parts)).encode(errors="backslashreplace"), digest_size=32
    ).hexdigest()


def of_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> str | None:
    """Fingerprint a tokenizer that was just loaded from a folder; None if its files do not tell all of it.

    It covers the content of every file that a tokenizer may be made from, the versions that make it, and what is cheap
    to ask of the tokenizer itself: its size, added and special tokens, decoder, and a sample of its tokens. So tokens
    added after loading are told; a change to its inner model that leaves all these alone is not.

    Args:
        tokenizer: The tokenizer.
        folder: The folder that it was loaded from.
    """
    if type(tokenizer).__module__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
        return None  # made by code that may lie anywhere
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in _TOKENIZER_SUFFIXES and file.is_file())
        contents = [(file.name, _digest(file.read_bytes())) for file in files]
    except OSError:
        return None
    return fingerprint(["tokenizer", *_MAKERS, contents, _in_memory(tokenizer)]) if contents else None


def of_embedding(embedding: Tensor) -> str:
    """Fingerprint token embeddings, ``[V, D]``, by their shape, type, some columns of all rows and some whole rows.

    Training moves a row as a whole, so the columns tell every checkpoint apart that has any other row; one that differs
    in single numbers alone, outside the sample, is not told. Equal ones on another device have the same.
    """
    rows, columns = (max(1, count // most) for count, most in zip(embedding.shape, (_ROWS, _COLUMNS), strict=True))
    samples = [_digest(_raw(sample)) for sample in (embedding[::rows], embedding[:, ::columns])]
    return fingerprint(["embedding", tuple(embedding.shape), str(embedding.dtype), samples])


def of_model(model: nn.Module) -> str:
    """Fingerprint a model by its class, its configuration, and `of_embedding`'s sample of each of its weights."""
    weights = [(name, of_embedding(one.reshape(len(one), -1))) for name, one in model.named_parameters() if one.dim()]
    config = getattr(model, "config", None)
    said = {} if config is None else {k: v for k, v in config.to_dict().items() if k not in _NO_CONFIG}
    return fingerprint(["model", type(model).__qualname__, repr(sorted(said.items())), weights])


def of_tensor(tensor: Tensor) -> str:
    """Fingerprint a tensor by all of its numbers, such as the ids of anchors."""
    return fingerprint(["tensor", tuple(tensor.shape), str(tensor.dtype), _digest(_raw(tensor))])


def _in_memory(tokenizer: PreTrainedTokenizerBase) -> list[object]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    own = type(tokenizer)
    size = len(tokenizer)
    added = {} if backend is None else tokenizer.added_tokens_decoder
    return [
        f"{own.__module__}.{own.__qualname__}",
        size,
        sorted((id_, repr(token)) for id_, token in added.items()),
        tokenizer.eos_token_id,
        tokenizer.unk_token_id,
        sorted(tokenizer.all_special_ids),
        backend and backend.decoder and backend.decoder.__getstate__(),
        tokenizer.convert_ids_to_tokens(list(range(0, size, max(1, size // _TOKENS)))),
    ]


def _raw(sample: Tensor) -> bytes:
    plain = sample.detach().contiguous().cpu()
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()
