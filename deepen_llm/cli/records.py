"""Outputs as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from deepen_llm.outputs import Output, Sample

_WHERE_SAID = frozenset({"tool_calls", "reasoning"})  # left out where empty


def as_record(output: Output) -> dict[str, Any]:
    """An output for ``json.dumps``: the first sample's fields, all samples where there are more, and the usage.

    Probability zero has the log-probability null, since JSON has no infinity.
    """
    samples = [_sample(sample) for sample in output.samples]
    usage = {**asdict(output.usage), "total_tokens": output.usage.total_tokens}
    return {**samples[0], **({"samples": samples} if len(samples) > 1 else {}), "usage": usage}


def finite(value: Any) -> Any:
    """The same value with null in place of every number that JSON cannot write."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sample(sample: Sample) -> dict[str, Any]:
    said = {**asdict(replace(sample, response_format=None)), "fused_share": sample.fused_share}
    fields = {name: value for name, value in said.items() if value is not None and (value or name not in _WHERE_SAID)}
    record: dict[str, Any] = finite(fields)
    return record
