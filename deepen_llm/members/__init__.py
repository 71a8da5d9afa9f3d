"""The models that take part: weights, tokenizer, and what each has read so far."""

import deepen_llm.vocabulary.supported  # noqa: F401 - before the first module that imports transformers
