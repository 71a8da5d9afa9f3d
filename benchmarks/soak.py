"""Many callers of one ensemble for a while: ``python -m benchmarks.soak --requests 1000 --callers 64``.

Requests of mixed kinds come from many threads at once: batches, streams, structures, stops, samples, scores; some are
left half-way, some cannot be used, and some meet a member that fails. Every answer is compared with the one that the
request gets alone, and memory, threads and sequences are counted at the end.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from deepen_llm import EnsembleLLM
from deepen_llm.errors import DeepenError, PromptError

PROMPTS = ("The quick brown fox", "A list:", "Grüße aus München, 東京", "the the the")
_TOKENS = 6
_FAULTS_IN = 200  # forwards of the member that fails, one of them
_STEADY = 0.1  # growth of memory over the second half that counts as none


class _FaultError(RuntimeError):
    """What the failing member raises."""


@dataclass
class Record:
    """What was seen.

    Attributes:
        ended: How many requests ended in each way.
        wrong: Requests whose answer is not the one that they get alone.
        memory: Resident bytes, one number for each tenth of the requests.
        threads: Threads beyond those before, at the end.
        seconds: How long it took.
    """

    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    threads: int = 0
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """How much memory grew over the second half, as a share."""
        half = self.memory[len(self.memory) // 2 :]
        return half[-1] / half[0] - 1 if half else 0.0


def kinds(llm: EnsembleLLM) -> dict[str, Callable[[int], Any]]:
    """The kinds of calls, by name.

    Each takes a number, which chooses its prompt, and returns its result, which must not depend on other callers.
    """

    def prompt(number: int) -> str:
        return f"{PROMPTS[number % len(PROMPTS)]} {number % 3}"

    def streamed(number: int) -> str:
        return "".join(map(str, llm.stream(prompt(number), max_new_tokens=_TOKENS)))

    def left(number: int) -> str:
        stream = llm.stream(prompt(number), max_new_tokens=10 * _TOKENS)
        for _ in range(number % 3):
            next(stream, None)
        stream.close()
        return ""

    def refused(number: int) -> str:
        try:
            llm.generate("" if number % 2 else [], max_new_tokens=_TOKENS)
        except PromptError as error:
            return error.message
        return "nothing was refused"

    return {
        "one": lambda number: llm.generate(prompt(number), max_new_tokens=_TOKENS).text,
        "batch": lambda number: [out.text for out in llm.generate([prompt(number), "A"], max_new_tokens=_TOKENS)],
        "samples": lambda number: [
            sample.text
            for sample in llm.generate(
                prompt(number), n=2, temperature=0.8, seed=number % 5, max_new_tokens=_TOKENS
            ).samples
        ],
        "structure": lambda number: llm.generate(prompt(number), response_format=bool, max_new_tokens=_TOKENS).parsed,
        "stop": lambda number: llm.generate(prompt(number), stop=["e", "a"], max_new_tokens=_TOKENS).text,
        "score": lambda number: [token.token for token in llm.score(prompt(number), " jumps").tokens],
        "stream": streamed,
        "left": left,
        "refused": refused,
    }


def soak(
    llm: EnsembleLLM,
    requests: int,
    callers: int,
    *,
    faults: bool = True,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Record:
    """Let many callers ask one ensemble.

    Args:
        llm: The ensemble; its last member fails now and then.
        requests: How many requests.
        callers: From how many threads at once.
        faults: Whether a member fails now and then.
        seed: For what is asked.
        on_progress: Called with how many requests have ended, after each.
    """
    record, by_name, lock = Record(), kinds(llm), threading.Lock()
    draw = random.Random(seed)  # noqa: S311 - no secret
    asked = [(draw.choice([*by_name]), draw.randrange(12)) for _ in range(requests)]
    alone = {(name, number): by_name[name](number) for name, number in sorted(set(asked))}
    threads, began = threading.active_count(), time.perf_counter()

    def ask(one: tuple[str, int]) -> None:
        name, number = one
        try:
            found = by_name[name](number)
            how = name if found == alone[one] else "wrong"
        except _FaultError:
            how = "fault"
        except DeepenError as error:
            how, found = "wrong", error
        with lock:
            record.ended[how] += 1
            if how == "wrong":
                record.wrong.append(f"{name} {number}: {found!r}, alone {alone[one]!r}")
            if sum(record.ended.values()) % max(1, requests // 10) == 0:
                record.memory.append(_resident())
            on_progress(sum(record.ended.values()))

    with _failing(llm, faults), ThreadPoolExecutor(callers) as pool:
        for running in [pool.submit(ask, one) for one in asked]:
            running.result()
    gc.collect()
    record.threads, record.seconds = threading.active_count() - threads, time.perf_counter() - began
    return record


@contextmanager
def _failing(llm: EnsembleLLM, faults: bool) -> Iterator[None]:
    """While entered, one forward in `_FAULTS_IN` of the last member raises."""
    forwards = count(1)

    def fail(*_: object) -> None:
        if next(forwards) % _FAULTS_IN == 0:
            raise _FaultError

    if not faults:
        yield
        return
    with llm.members[-1].model.register_forward_pre_hook(fail):  # type: ignore[attr-defined]
        yield


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def verdict(record: Record) -> Sequence[str]:
    """What is not as it should be, a line each."""
    found = [f"wrong: {one}" for one in record.wrong[:5]]
    if record.threads:
        found.append(f"{record.threads} threads are left")
    if record.growth > _STEADY:
        found.append(f"memory grew by {record.growth:.0%} over the second half")
    return found


def main(
    requests: Annotated[int, typer.Option(min=1, help="How many requests.")] = 1000,
    callers: Annotated[int, typer.Option(min=1, help="From how many threads at once.")] = 64,
    seed: Annotated[int, typer.Option(help="For what is asked.")] = 0,
) -> None:
    """Let many callers ask one ensemble of the bundled specialists, and compare each answer with that given alone."""
    import torch

    from deepen_llm import specialists

    torch.set_num_threads(1)
    llm = EnsembleLLM.from_pretrained(specialists.paths(), device="cpu", batch_size=32)
    record = soak(llm, requests, callers, seed=seed)
    typer.echo(", ".join(f"{number} {how}" for how, number in sorted(record.ended.items())))
    typer.echo(f"{record.seconds:.1f} s, {requests / record.seconds:.1f} requests/s")
    found = verdict(record)
    for line in found:
        typer.echo(line, err=True)
    raise typer.Exit(bool(found))


if __name__ == "__main__":
    typer.run(main)
