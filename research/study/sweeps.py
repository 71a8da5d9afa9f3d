"""The study's questions about numbers: rate, search steps, self-mass, members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from deepen_llm.fusion import EntropyWeights, Exact, FusionMethod, PromptWeights
from deepen_llm.fusion.gate import Gate
from deepen_llm.fusion.relative.selection import AnchorOptions
from research.study.experiments import ROUNDS, bayes, deepen, rounds
from research.study.lab import Lab, Setting
from research.study.tables import Table, compared
from research.study.tuning import best_main, best_of, chosen_options, ranked, searched

RATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.7, 1.0)
STEPS = (1, 2, 3, 5, 10, 20)
MASSES = (0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.995)
TWICE: dict[str, Callable[..., FusionMethod]] = {"bayes": bayes, "bayes, two rounds": rounds}
ANCHORS = (64, 256, 1024)
TAUS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
BELOW = (0.5, 0.7, 0.9, 0.99)
MAIN_WEIGHTS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)


def rates(lab: Lab, names: Sequence[str]) -> Table:
    """The search over its rate η."""
    base = Setting(tuple(names), best_main(lab, names))
    rows = [(f"η {rate:g}", replace(base, fusion=deepen(relr=rate)), "") for rate in RATES]
    return compared(lab, f"The rate η, T 5: {', '.join(names)}", [_alone(base), *rows])


def steps(lab: Lab, names: Sequence[str]) -> Table:
    """The search over its number of steps T, at the default rate and a high one."""
    base = Setting(tuple(names), best_main(lab, names))
    rows = [
        (f"T {count}, η {rate:g}", replace(base, fusion=deepen(relr=rate, search_steps=count)), "")
        for rate in (0.15, 1.0)
        for count in STEPS
    ]
    return compared(lab, f"The number of search steps T: {', '.join(names)}", [_alone(base), *rows])


def masses(lab: Lab, names: Sequence[str]) -> Table:
    """Bayes' rule over the self-mass, in one round and in two."""
    base = Setting(tuple(names), best_main(lab, names))
    rows = [
        (f"{name}, self-mass {mass:g}", replace(base, fusion=method(self_mass=mass)), "")
        for (name, method), mass in product(TWICE.items(), MASSES)
    ]
    return compared(lab, f"The self-mass: {', '.join(names)}", [_alone(base), *rows])


def repeats(lab: Lab, names: Sequence[str]) -> Table:
    """Bayes' rule over the number of rounds, beside the average over exactly matching tokens; with two weightings."""
    base, rows = Setting(tuple(names), best_main(lab, names)), list[tuple[str, Setting, str]]()
    for label, weights in (("equal weights", None), ("by entropy", EntropyWeights())):
        weighted = replace(base, weights=weights)
        rows.append((f"exact tokens, {label}", replace(weighted, fusion=Exact()), ""))
        rows += [(f"rounds {count}, {label}", replace(weighted, fusion=rounds(count)), "") for count in ROUNDS]
    return compared(lab, f"Rounds of Bayes' rule: {', '.join(names)}", rows)


def weights(lab: Lab, names: Sequence[str]) -> Table:
    """Equal weights beside those by the members' scores, the prompt or each token, with tuned options."""
    rows = []
    for name, method in (*TWICE.items(), ("exact tokens", Exact)):
        base = Setting(tuple(names), best_main(lab, names), method())
        prompts = [replace(base, weights=PromptWeights(tau=tau, per=per)) for per in ("token", "byte") for tau in TAUS]
        tuned = [best_of(lab, prompts), best_of(lab, [replace(base, weights=EntropyWeights(tau=tau)) for tau in TAUS])]
        rows += [
            (f"{name}, equal (Avg)", base, ""),
            (f"{name}, by score (Adapt)", replace(base, weights=lab.adapted(names)), ""),
            (f"{name}, by prompt", replace(base, weights=PromptWeights()), "default"),
            (f"{name}, by prompt, tuned", tuned[0], _told(tuned[0].weights)),
            (f"{name}, by entropy", replace(base, weights=EntropyWeights()), "default"),
            (f"{name}, by entropy, tuned", tuned[1], _told(tuned[1].weights)),
        ]
    return compared(lab, f"Weights: {', '.join(names)}", rows)


def gates(lab: Lab, names: Sequence[str]) -> Table:
    """Fusing everywhere beside fusing where the main model is unsure, or where every member has a boundary."""
    base = Setting(tuple(names), best_main(lab, names), rounds())
    unsure = [(f"unsure, below {below:g}", Gate(when="unsure", below=below)) for below in BELOW]
    rows = [("always", base, _fused(lab, base))]
    for label, gate in (*unsure, ("boundary", Gate(when="boundary"))):
        setting = replace(base, gate=gate)
        rows.append((label, setting, _fused(lab, setting)))
    return compared(lab, f"The gate, bayes in two rounds: {', '.join(names)}", [_alone(base), *rows], base)


def _fused(lab: Lab, setting: Setting) -> str:
    return f"{100 * lab.fused_share(setting, 'test'):.0f} % of tokens fused"


def _told(given: object) -> str:
    tau = getattr(given, "tau", 0.0)
    return f"τ {tau:g}" + (f" per {given.per}" if isinstance(given, PromptWeights) else "")


def anchors(lab: Lab, names: Sequence[str]) -> Table:
    """Fewer anchors, chosen in several ways, beside averages over equally few matching tokens."""
    base = Setting(tuple(names), best_main(lab, names))
    drawn = [AnchorOptions(anchor_choice="random", anchor_count=n, anchor_seed=s) for n, s in product(ANCHORS, (0, 1))]
    ranked = [
        AnchorOptions(anchor_choice=kind, anchor_count=n) for kind, n in product(("consistent", "spread"), ANCHORS)
    ]
    rows = [("all", replace(base, fusion=rounds()), "")]
    rows += [(_chosen(one), replace(base, fusion=rounds(**one.model_dump())), "") for one in (*drawn, *ranked)]
    rows.append(("exact tokens, all", replace(base, fusion=Exact()), ""))
    rows += [(f"exact tokens, {_chosen(one)}", replace(base, fusion=Exact(choice=one)), "") for one in drawn]
    return compared(lab, f"Anchors, bayes in two rounds: {', '.join(names)}", rows)


def _chosen(options: AnchorOptions) -> str:
    seed = f", seed {options.anchor_seed}" if options.anchor_choice == "random" else ""
    return f"{options.anchor_count} {options.anchor_choice}{seed}"


def main_weights(lab: Lab, names: Sequence[str]) -> Table:
    """Bayes' rule over the main model's weight, the rest shared by the others."""
    base, rest = Setting(tuple(names), best_main(lab, names)), len(names) - 1
    shares = {own: tuple(own if name == base.main else (1 - own) / rest for name in names) for own in MAIN_WEIGHTS}
    rows = [
        (f"{name}, λ {own:g}", replace(base, fusion=method(), weights=weights), "")
        for (name, method), (own, weights) in product(TWICE.items(), shares.items())
    ]
    return compared(lab, f"The main model's weight: {', '.join(names)}", [_alone(base), *rows])


def counts(lab: Lab, names: Sequence[str], title: str) -> Table:
    """More and more members, the best ones on the development questions first."""
    order = ranked(lab, names)
    rows = []
    made: dict[str, Callable[..., FusionMethod]] = {**TWICE, "bayes, three rounds": lambda: rounds(3)}
    made |= {"exact tokens": Exact, "deepen": deepen}
    for name, method in made.items():
        for count in range(2, len(order) + 1):
            setting = Setting(tuple(order[:count]), order[0], method())
            setting = searched(lab, setting, (5,)) if method is deepen else setting
            rows.append((f"{name}, {count}: + {order[count - 1]}", setting, chosen_options(setting)))
    return compared(lab, title, [(f"1: {order[0]}", Setting((order[0],), order[0]), ""), *rows])


def _alone(base: Setting) -> tuple[str, Setting, str]:
    return f"{base.main} alone", Setting((base.main,), base.main), ""
