"""Fusion by what tokens spell: no embeddings, no anchors, no further forward.

Each other member's evidence (`straddling`) goes back to main tokens by Bayes' rule: a token u, or the rest of one that
straddles the end of the text, may begin the main tokens ``G(u)`` (`correspondence`, `residuals`), and shares itself out
among them as a prior has it,

    q_i(v) = Σ_u e_i(u) · w_u(v) / Σ_{v' ∈ G(u)} w_u(v')      w_u(v) = prior(v) + floor · [v = f(u)]

The prior is the main model's distribution, then the fused one. With ``S_i = Σ e_i``, less than 1 where a member
abstains,

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
from deepen_llm.fusion.surfaces.sharing import Bridges, Mixture, Shared, rests, told
from deepen_llm.fusion.surfaces.straddling import expected
from deepen_llm.fusion.surfaces.transfer import fetched, sent
from deepen_llm.fusion.tunable import Choice, Number, Sweep, Tunable

_PORTION_BYTES = 64 * 2**20  # of one portion's tensors over a vocabulary


class Surface(FusionMethod):
    """Fused distribution over main tokens by what all members' tokens spell.

    Attributes:
        rounds: How many times evidence is brought back: in a further round the fused distribution is the prior.
        straddle: At how many token boundaries before the end of the text each other member is read, too; 0 for none.
        guess: What each byte counts of a cover of the last bytes that nobody has read; 0 to leave such covers out.
        abstain: Whether a member abstains where such covers are likely, rather than to trust what it says after its
            own tokens.
        floor: What the main token that begins a token's own text counts beside its prior, so that a short token may be
            written as it stands.
        reread: Whether the main model reads its own encoding of the text after a token that was not its own choice.
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

    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        """See `FusionMethod`.

        Raises:
            ConfigError: A member does not tell its first tokens of texts.
        """
        return _SurfaceFusion(self, [_spelling(member) for member in members], main)


class _SurfaceFusion(Fusion):
    def __init__(self, method: Surface, members: Sequence[Spelling], main: int) -> None:
        widest = max(member.vocabulary.size for member in members)
        super().__init__(members, main, portion=max(1, _PORTION_BYTES // (4 * widest)))
        self._method, self.back, self.rereads = method, method.straddle, method.reread
        own = members[main].vocabulary
        strangers = {i: one for i, one in enumerate(members) if one.vocabulary.fingerprint != own.fingerprint}
        edges = {i: Edges.between(one, members[main]) for i, one in strangers.items()}
        self._bridges = Bridges(edges, own.size, method.floor)
        main_tokens = Tokens(members[main]) if strangers else None
        self._residuals = {i: Residuals(Tokens(one), main_tokens) for i, one in strangers.items() if main_tokens}

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return self._fuse_behind(logits, weights, None, None)

    def _fuse_behind(
        self, logits: Sequence[Tensor], weights: Tensor, past: Past | None, parts: list[Tensor] | None
    ) -> Tensor:
        evidence, own, shape = past.evidence if past else {}, logits[self.main], (len(weights), len(logits))
        rested = rests(evidence, shape, own.shape[1], self._method.floor)
        found, *sharing = sent([told(evidence, shape), *rested], own.device)
        found = found.view(3, *shape)
        heard = (weights * found[1]).sum(-1, keepdim=True)  # [P, 1]
        silence = heard <= 0  # where the main model is alone
        trust = weights / (heard + silence)
        trust[:, self.main : self.main + 1] += silence
        main = prior = fused = own.softmax(-1)
        mixture = self._mixture(main, logits, trust, found, sharing)
        for _ in range(self._method.rounds):
            prior, fused = fused, mixture.back(fused)
        if parts is not None:
            only = torch.eye(len(logits), device=own.device).unsqueeze(1).repeat(1, len(own), 1)  # [N, P, N]
            said = [self._mixture(main, logits, one, found, sharing).back(prior) for one in only]
            parts.append(parts_of(said, fused))
        return fused.log() + (own.amax(-1, keepdim=True) - main.amax(-1, keepdim=True).log())  # on the scale of `own`

    def _mixture(
        self, main: Tensor, logits: Sequence[Tensor], trust: Tensor, found: Tensor, sharing: Sequence[Tensor]
    ) -> Mixture:
        """What all members' evidence comes to, ahead of a prior.

        Args:
            main: The main model's distribution, ``[P, V_m]``.
            logits: Each member's.
            trust: What each member's evidence counts, ``[P, N]``.
            found: See `told`.
            sharing: See `rests`.
        """
        bridges, (places, width) = self._bridges.on(main.device), main.shape
        certain, groups, here = main.new_zeros(places, width + 2), list[Tensor](), trust * found[0]
        for i, one in enumerate(logits):
            if i in bridges.single:
                e = one.softmax(-1).to(main.device).mul_(here[:, i : i + 1])
                certain.scatter_add_(1, bridges.single[i].expand(places, -1), e)
                groups.append(e.index_select(1, bridges.tokens[i]))
                continue
            roles = self._roles[i], self._roles[self.main]
            p = main if i == self.main else in_main_ids(one.softmax(-1).to(main.device), *roles, width)
            certain[:, :width].addcmul_(p, trust[:, i : i + 1])
        left = certain[:, width : width + 1] + (trust * found[2]).sum(-1, keepdim=True)
        shared = [Shared(torch.cat(groups, 1), bridges.group, bridges.target, bridges.beside)] if groups else []
        if sharing:
            owner, share, *edges = sharing
            shared.append(Shared((share * trust.view(-1)[owner])[None], *edges))
        return Mixture(certain[:, :width], left, shared)

    @torch.inference_mode()
    @override
    def read(self, logits: Sequence[Tensor], past: Past) -> None:
        missing = {i: one for i, one in self._residuals.items() if i not in past.evidence}
        trails = {i: past.trails[i] or [Trail.of()] * len(logits[i]) for i in missing}
        reads = {i: Boundaries(missing[i].tokens, logits[i], one, past.unfinished) for i, one in trails.items()}
        if not any(reads.values()):
            return
        own = logits[self.main]
        likely = own >= own.logsumexp(-1, keepdim=True) + math.log(LIKELY)
        *values, chosen = fetched([*(one.look() for one in reads.values()), likely])
        chosen = chosen.view(np.bool_).reshape(own.shape)  # [P, V_m]
        for (i, read), seen in zip(reads.items(), values, strict=True):
            found = expected(read, seen, guess=self._method.guess, abstain=self._method.abstain)
            past.evidence[i] = replace(found, rests=missing[i].rests(found, chosen))

    @torch.inference_mode()
    def expected(self, logits: Sequence[Tensor], past: Past | None) -> Sequence[Tensor]:
        """See `Fusion`: the logarithms of the evidence, of straddling tokens behind those that begin here."""
        if past is None:
            return logits
        self.read(logits, past)
        return [_logarithms(one, past.evidence[i]) if i in past.evidence else one for i, one in enumerate(logits)]


def _logarithms(logits: Tensor, found: Expected) -> Tensor:
    """The logarithms of a member's evidence, ``[P, V_i + the most straddling tokens of a place]``."""
    columns = np.arange(len(found.places)) - found.places.searchsorted(found.places)
    shares = np.zeros((len(found), 1 + columns.max(initial=-1)))
    shares[found.places, columns] = found.shares
    here, straddling = (one.view(len(found), -1).log() for one in sent([found.here, shares], logits.device))
    return torch.cat([logits.log_softmax(-1) + here, straddling], -1)


def _spelling(member: Fusible) -> Spelling:
    if hasattr(member, "first_tokens"):  # and not isinstance, which would look at its embedding, too
        return cast("Spelling", member)
    raise ConfigError(
        f"member {member.name} does not tell with which tokens it begins texts, which fusion='surface' needs",
        hint="give it a method first_tokens (see Member), or choose fusion='bayes'",
    )
