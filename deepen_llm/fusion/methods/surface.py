"""Fusion by what tokens spell; it needs no embeddings, no anchors and no further forward.

Bayes' rule maps each other member's evidence (`straddling`) to main tokens: a token u, or the rest of a token that
straddles the end of the text, may begin the main tokens ``G(u)`` (`correspondence`, `residuals`), and its mass is
divided over them in proportion to a prior,

    q_i(v) = Σ_u e_i(u) · w_u(v) / Σ_{v' ∈ G(u)} w_u(v')      w_u(v) = prior(v) + floor · [v = f(u)]

The prior of the first round is the main model's distribution, then the fused one. With ``S_i = Σ e_i``, which is less
than 1 where a member abstains,

    fused = (λ_main p_main + Σ λ_i q_i) / (λ_main + Σ λ_i S_i)

docs/method.md derives it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from deepen_llm.errors import ConfigError
from deepen_llm.fusion.base import Fusible, Fusion, FusionMethod, Spelling
from deepen_llm.fusion.needs import Needs
from deepen_llm.fusion.parts import parts as parts_of
from deepen_llm.fusion.past import Past, Trail
from deepen_llm.fusion.shared_vocabulary import in_main_ids
from deepen_llm.fusion.surfaces.boundaries import Boundaries
from deepen_llm.fusion.surfaces.correspondence import Edges, Tokens
from deepen_llm.fusion.surfaces.expected import Expected
from deepen_llm.fusion.surfaces.residuals import LIKELY, Residuals
from deepen_llm.fusion.surfaces.sharing import Bridges, Mixture, Shared, rests, shares_of
from deepen_llm.fusion.surfaces.straddling import expected
from deepen_llm.fusion.surfaces.transfer import fetched, sent
from deepen_llm.fusion.tunable import Choice, Number, Sweep, Tunable

_PORTION_BYTES = 64 * 2**20  # of one portion's tensors over a vocabulary


class Surface(FusionMethod):
    """Fused distribution over main tokens, by the surfaces of all members' tokens.

    Attributes:
        rounds: How many times evidence is mapped to main tokens; after the first, the fused distribution is the prior.
        straddle: At how many token boundaries before the end of the text each other member is read, too; 0 for none.
        guess: The assumed probability of each remaining byte in covers of the last bytes that no forward has read; 0
            leaves such covers out.
        abstain: Whether a member abstains where such covers are likely; otherwise their mass goes to its distribution
            after its own tokens.
        floor: A constant added to the prior of the main token that begins a token's own text, so that a short token can
            be chosen in its own spelling.
        reread: Whether the main model reads its own encoding of the text after a token that it did not choose.
    """

    title: ClassVar[str] = "what tokens spell, read at each member's last token boundaries too"
    reference: ClassVar[str] = "docs/method.md, Surfaces"
    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.FULL_LOGITS, Needs.TEXT})
    mixes: ClassVar[bool] = True
    tunables: ClassVar[tuple[Tunable, ...]] = (
        Number("rounds", 1, 5, label="rounds of Bayes' rule", sweep=Sweep((1, 2, 3, 4, 5, 7, 10), loss=True)),
        Number("straddle", 0, 8, label="earlier boundaries", searched=False),
        Number("guess", 0.0, 1.0, digits=3, label="weight of a byte that nobody read", searched=False),
        Number("floor", 0.0001, 0.1, digits=5, log=True, label="weight beside the prior", searched=False),
        Choice.of("abstain", True, False, label="abstention", searched=False),
        Choice.of("reread", True, False, label="rereading", searched=False),
    )
    starts: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    method: Literal["surface"] = "surface"
    rounds: int = Field(2, ge=1, le=100)
    straddle: int = Field(4, ge=0, le=32)
    guess: float = Field(0.25, ge=0, le=1)
    abstain: bool = True
    floor: float = Field(0.01, ge=0, le=1)
    reread: bool = True

    @override
    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """Bind the method to its members.

        Raises:
            ConfigError: A member has no method ``first_tokens``.
        """
        return _SurfaceFusion(self, [_spelling(member) for member in members], main)


class _SurfaceFusion(Fusion):
    def __init__(self, method: Surface, members: Sequence[Spelling], main: int) -> None:
        widest = max(member.vocabulary.size for member in members)
        super().__init__(members, main, portion=max(1, _PORTION_BYTES // (4 * widest)))
        self._method, self.back, self.rereads = method, method.straddle, method.reread
        vocabulary = members[main].vocabulary
        others = {i: one for i, one in enumerate(members) if one.vocabulary.fingerprint != vocabulary.fingerprint}
        edges = {i: Edges.between(member, members[main]) for i, member in others.items()}
        self._bridges = Bridges(edges, vocabulary.size, method.floor)
        main_tokens = Tokens(members[main]) if others else None
        self._residuals = {i: Residuals(Tokens(member), main_tokens) for i, member in others.items() if main_tokens}

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return self._fuse_after(logits, weights, None, None)

    def _fuse_after(
        self, logits: Sequence[Tensor], weights: Tensor, past: Past | None, parts: list[Tensor] | None
    ) -> Tensor:
        evidence, main_logits = past.evidence if past else {}, logits[self.main]
        shape, device = (len(weights), len(logits)), main_logits.device
        rest_groups = rests(evidence, shape, main_logits.shape[1], self._method.floor)
        shares, *sharing = sent([shares_of(evidence, shape), *rest_groups], device)
        shares = shares.view(3, *shape)
        known = (weights * shares[1]).sum(-1, keepdim=True)  # [P, 1]
        all_abstain = known <= 0  # there only the main model counts
        normalized = weights / (known + all_abstain)
        normalized[:, self.main : self.main + 1] += all_abstain
        main = prior = fused = main_logits.softmax(-1)
        mixture = self._mixture(main, logits, normalized, shares, sharing)
        for _ in range(self._method.rounds):
            prior, fused = fused, mixture.over_main_tokens(fused)
        if parts is not None:
            single = torch.eye(len(logits), device=device).unsqueeze(1).repeat(1, len(main_logits), 1)  # [N, P, N]
            mixtures = [self._mixture(main, logits, weight, shares, sharing) for weight in single]
            parts.append(parts_of([mixture.over_main_tokens(prior) for mixture in mixtures], fused))
        scale = main_logits.amax(-1, keepdim=True) - main.amax(-1, keepdim=True).log()  # of the main model's logits
        return fused.log() + scale

    def _mixture(
        self, main: Tensor, logits: Sequence[Tensor], weights: Tensor, shares: Tensor, sharing: Sequence[Tensor]
    ) -> Mixture:
        """The weighted evidence of all members, before a prior divides it.

        Args:
            main: The main model's distribution, ``[P, V_m]``.
            logits: Each member's logits, ``[P, V_i]``.
            weights: The weight of each member's evidence, ``[P, N]``.
            shares: See `shares_of`.
            sharing: See `rests`.
        """
        bridges, (positions, width) = self._bridges.on(main.device), main.shape
        certain, groups = main.new_zeros(positions, width + 2), list[Tensor]()
        here = weights * shares[0]
        for i, of_member in enumerate(logits):
            if i in bridges.single:
                e = of_member.softmax(-1).to(main.device).mul_(here[:, i : i + 1])
                certain.scatter_add_(1, bridges.single[i].expand(positions, -1), e)
                groups.append(e.index_select(1, bridges.tokens[i]))
                continue
            roles = self._roles[i], self._roles[self.main]
            p = main if i == self.main else in_main_ids(of_member.softmax(-1).to(main.device), *roles, width)
            certain[:, :width].addcmul_(p, weights[:, i : i + 1])
        left = certain[:, width : width + 1] + (weights * shares[2]).sum(-1, keepdim=True)
        shared = [Shared(torch.cat(groups, 1), bridges.group, bridges.target, bridges.beside)] if groups else []
        if sharing:
            owner, share, *edges = sharing
            shared.append(Shared((share * weights.view(-1)[owner])[None], *edges))
        return Mixture(certain[:, :width], left, shared)

    @torch.inference_mode()
    @override
    def read(self, logits: Sequence[Tensor], past: Past) -> None:
        missing = {i: residuals for i, residuals in self._residuals.items() if i not in past.evidence}
        trails = {i: past.trails[i] or [Trail.of()] * len(logits[i]) for i in missing}
        by_member = {i: Boundaries(missing[i].tokens, logits[i], trail, past.unfinished) for i, trail in trails.items()}
        if not any(by_member.values()):
            return
        main = logits[self.main]
        is_likely = main >= main.logsumexp(-1, keepdim=True) + math.log(LIKELY)
        *values, likely = fetched([*(boundaries.values() for boundaries in by_member.values()), is_likely])
        likely = likely.view(np.bool_).reshape(main.shape)  # [P, V_m]
        for (i, boundaries), at_boundaries in zip(by_member.items(), values, strict=True):
            evidence = expected(boundaries, at_boundaries, guess=self._method.guess, abstain=self._method.abstain)
            past.evidence[i] = replace(evidence, rests=missing[i].rests(evidence, likely))

    @override
    @torch.inference_mode()
    def expected(self, logits: Sequence[Tensor], past: Past | None) -> Sequence[Tensor]:
        """The logarithms of the evidence; columns after the tokens that begin here are for straddling tokens."""
        if past is None:
            return logits
        self.read(logits, past)
        return [
            _logarithms(of_member, past.evidence[i]) if i in past.evidence else of_member
            for i, of_member in enumerate(logits)
        ]


def _logarithms(logits: Tensor, evidence: Expected) -> Tensor:
    """The logarithms of a member's evidence, ``[P, V_i + the most straddling tokens of a position]``."""
    columns = np.arange(len(evidence.positions)) - evidence.positions.searchsorted(evidence.positions)
    shares = np.zeros((len(evidence), 1 + columns.max(initial=-1)))
    shares[evidence.positions, columns] = evidence.shares
    here, straddling = (part.view(len(evidence), -1).log() for part in sent([evidence.here, shares], logits.device))
    return torch.cat([logits.log_softmax(-1) + here, straddling], -1)


def _spelling(member: Fusible) -> Spelling:
    if hasattr(member, "first_tokens"):  # isinstance would read its embedding, too
        return cast("Spelling", member)
    raise ConfigError(
        f"expected a member with a method first_tokens for fusion='surface', got {member.name}, which has none",
        hint="implement first_tokens (see Member), or choose fusion='bayes'",
    )
