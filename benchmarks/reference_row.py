"""Row reference: tokens per second against the reference loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.decoding import PROMPT, ensemble
from benchmarks.reference import ReferenceLoop
from benchmarks.rows import Result
from benchmarks.setting import Setting, Tell
from deepen_llm.diagnostics.timing import Ratio, in_turn, seconds
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.memory import free_memory
from deepen_llm.vocabulary import shared_anchors

_PLACES = 4  # of the text at which the reference loop is timed

_ASSUMED = 4 * 10**9  # bytes free, where a machine does not tell


def measure(setting: Setting, tell: Tell) -> Iterator[Result]:
    """The reference loop's steps at evenly spaced places of the text, in turn with all of ours."""
    tokens, pairs, prompt = setting.sizes.reference_tokens, setting.pairs(), setting.prompt(PROMPT)
    llm = ensemble(pairs)
    all_anchors = shared_anchors([LocalMember(*pair).vocabulary for pair in pairs])
    anchors = _fitting(all_anchors, sum(model.config.vocab_size for model, _ in pairs))
    tell(f"dense matrices over {anchors.shape[1]:,} anchors")
    loop = ReferenceLoop(pairs, anchors)
    places = [round((place + 0.5) * tokens / _PLACES) for place in range(_PLACES)]
    texts = {place: setting.prompt(PROMPT + place) for place in places}
    loop.next_logits(texts[places[0]])
    sides: dict[str, Callable[[], float]] = {
        f"reference at {place}": partial(seconds, partial(loop.next_logits, text)) for place, text in texts.items()
    }
    sides["ours"] = lambda: seconds(lambda: llm.generate(prompt, max_new_tokens=tokens)) / tokens
    took = in_turn(sides, 1, tell)
    steps = [took[f"reference at {place}"][0] for place in places]
    mean, ours = sum(steps) / len(steps), took["ours"][0]
    note = (
        f"{1 / ours:.1f} against {1 / mean:.2f} tokens/s, theirs from steps at {', '.join(map(str, places))} of "
        f"{tokens} tokens, with {anchors.shape[1]:,} of {all_anchors.shape[1]:,} anchors"
    )
    if anchors.shape[1] < all_anchors.shape[1]:
        note += " (more exceed half of the free memory; fewer favour the reference)"
    yield Result("reference", Ratio(mean / ours, min(steps) / ours, max(steps) / ours), note, took)


def _fitting(anchors: Tensor, rows: int) -> Tensor:
    """As many anchors ``[N, A]`` as dense fp32 matrices of so many rows have room for, evenly spaced."""
    most = max(64, (free_memory(torch.device("cpu")) or _ASSUMED) // 2 // (4 * rows))
    count = anchors.shape[1]
    return anchors[:, torch.linspace(0, count - 1, min(count, most)).long()]
