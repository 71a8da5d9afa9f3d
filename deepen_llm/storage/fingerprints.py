"""Fingerprints: keys of stored entries; equal keys mean equal results of the computation."""

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
_TOKENS = 256  # tokens of the tokenizer in memory that are part of its fingerprint
_NO_CONFIG = {"_name_or_path", "transformers_version"}  # the path of the model, and the version that saved it
_TOKEN_SAMPLE, _COLUMN_SAMPLE = 64, 8  # smallest sample of an embedding


def fingerprint(parts: Iterable[object]) -> str:
    """Hash this package's version and some parts by their ``repr``: strings, numbers, bytes, tuples."""
    return blake2b(
        repr((store.FORMAT, __version__, *parts)).encode(errors="backslashreplace"), digest_size=32
    ).hexdigest()


def of_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> str | None:
    """Fingerprint a tokenizer that was just loaded from a folder; None if its files do not define it completely.

    The fingerprint covers the content of every file that a tokenizer may be made from, the versions of the libraries,
    and properties of the tokenizer in memory: its size, added and special tokens, decoder, and a sample of its tokens.
    So tokens that were added after loading change it; a change to the inner model may not.

    Args:
        tokenizer: The tokenizer.
        folder: The folder that the tokenizer was loaded from.
    """
    if type(tokenizer).__module__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
        return None  # custom code, whose files may be anywhere
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in _TOKENIZER_SUFFIXES and file.is_file())
        contents = [(file.name, _digest(file.read_bytes())) for file in files]
    except OSError:
        return None
    return fingerprint(["tokenizer", *_MAKERS, contents, _in_memory(tokenizer)]) if contents else None


def of_embedding(embedding: Tensor) -> str:
    """Fingerprint token embeddings, ``[V, D]``, by shape, type, some columns of all vectors and some whole vectors.

    Training changes all numbers of a token's vector, so the columns differ between checkpoints of which any vector
    differs; a difference in single numbers outside the sample does not change the fingerprint. The device does not
    matter.
    """
    token_stride = max(1, embedding.shape[0] // _TOKEN_SAMPLE)
    column_stride = max(1, embedding.shape[1] // _COLUMN_SAMPLE)
    samples = [_digest(_raw(sample)) for sample in (embedding[::token_stride], embedding[:, ::column_stride])]
    return fingerprint(["embedding", tuple(embedding.shape), str(embedding.dtype), samples])


def of_model(model: nn.Module) -> str:
    """Fingerprint a model by its class, its configuration, and `of_embedding`'s sample of each of its weights."""
    weights = [
        (name, of_embedding(weight.reshape(len(weight), -1)))
        for name, weight in model.named_parameters()
        if weight.dim()
    ]
    config = getattr(model, "config", None)
    settings = {} if config is None else {k: v for k, v in config.to_dict().items() if k not in _NO_CONFIG}
    return fingerprint(["model", type(model).__qualname__, repr(sorted(settings.items())), weights])


def of_tensor(tensor: Tensor) -> str:
    """Fingerprint a tensor, such as the ids of anchors, by all of its numbers."""
    return fingerprint(["tensor", tuple(tensor.shape), str(tensor.dtype), _digest(_raw(tensor))])


def _in_memory(tokenizer: PreTrainedTokenizerBase) -> list[object]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = type(tokenizer)
    size = len(tokenizer)
    added = {} if backend is None else tokenizer.added_tokens_decoder
    return [
        f"{kind.__module__}.{kind.__qualname__}",
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
