"""Conversion of outputs to JSON values."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from deepen_llm.outputs import Output, Sample

_OPTIONAL = frozenset({"tool_calls", "reasoning", "left_out"})  # not written if empty


def as_record(output: Output) -> dict[str, Any]:
    """Convert an output: the first sample's fields, all samples if there are several, and the usage.

    The log-probability of probability zero is null, since JSON has no infinity.
    """
    samples = [_sample(sample) for sample in output.samples]
    usage = {**asdict(output.usage), "total_tokens": output.usage.total_tokens}
    return {**samples[0], **({"samples": samples} if len(samples) > 1 else {}), "usage": usage}


def finite(value: Any) -> Any:
    """Replace numbers that JSON cannot represent by null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sample(sample: Sample) -> dict[str, Any]:
    values = {**asdict(replace(sample, response_format=None)), "fused_share": sample.fused_share}
    fields = {name: value for name, value in values.items() if value is not None and (value or name not in _OPTIONAL)}
    record: dict[str, Any] = finite(fields)
    return record
