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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from deepen_llm.errors import ConfigError
from deepen_llm.fusion.base import Fusible, Fusion, FusionMethod, Spelling
from deepen_llm.fusion.correspondence import Edges, Tokens
from deepen_llm.fusion.past import Past, Trail
from deepen_llm.fusion.residuals import Residuals
from deepen_llm.fusion.shared_vocabulary import in_main_ids
from deepen_llm.fusion.straddling import Evidence, evidence

_TINY = 1e-12  # beside each prior, so that none is 0
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


@dataclass(frozen=True)
class _Stranger:
    """A member with another vocabulary: its tokens, their edges, and the rests of those that straddle."""

    tokens: Tokens
    edges: Edges
    residuals: Residuals
    _sent: dict[torch.device, Edges] = field(default_factory=dict)

    def edges_on(self, device: torch.device) -> Edges:
        """The edges on a device, sent there once."""
        if device not in self._sent:
            self._sent[device] = self.edges.to(device)
        return self._sent[device]


@dataclass(frozen=True)
class _Brought:
    """One member's evidence at P places, in edges to main tokens.

    Attributes:
        certain: What goes to one main token each, ``[P, V_m]``.
        total: ``S_i``, ``[P, 1]``.
        shares: The evidence of each token, or rest of one, with several main tokens, ``[groups]``.
        group: For each edge, which of these it belongs to, ``[E]``.
        target: For each edge, its main token, at its place in ``[P · V_m]``, ``[E]``.
        spelled: What the floor adds to each edge's prior, ``[E]``.
    """

    certain: Tensor
    total: Tensor
    shares: Tensor
    group: Tensor
    target: Tensor
    spelled: Tensor

    def back(self, prior: Tensor) -> Tensor:
        """``q_i``, ``[P, V_m]``; evidence without main tokens stays with the prior."""
        weight = prior.reshape(-1)[self.target] + self.spelled + _TINY
        of_group = torch.zeros_like(self.shares).index_add_(0, self.group, weight)
        moved = weight * (self.shares / of_group)[self.group]
        q = self.certain.reshape(-1).index_add(0, self.target, moved).reshape(prior.shape)
        return q + (self.total - q.sum(-1, keepdim=True)).clamp(min=0) * prior


class _SurfaceFusion(Fusion):
    def __init__(self, method: Surface, members: Sequence[Spelling], main: int) -> None:
        widest = max(member.vocabulary.size for member in members)
        super().__init__(members, main, portion=max(1, _PORTION_BYTES // (4 * widest)))
        self._method, self.back, self.rereads = method, method.straddle, method.reread
        own = members[main].vocabulary.fingerprint
        self._strangers = dict[int, _Stranger]()
        strangers = [(i, member) for i, member in enumerate(members) if member.vocabulary.fingerprint != own]
        if strangers:
            main_tokens = Tokens(members[main])
            for i, member in strangers:
                tokens = Tokens(member)
                residuals = Residuals(tokens, main_tokens)
                self._strangers[i] = _Stranger(tokens, Edges.between(member, members[main]), residuals)

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return self._fuse_behind(logits, weights, None)

    def _fuse_behind(self, logits: Sequence[Tensor], weights: Tensor, past: Past | None) -> Tensor:
        own = logits[self.main]
        kept, heard = own.new_zeros(own.shape), weights.new_zeros(len(weights), 1)
        prior = own.softmax(-1)
        for i, one in enumerate(logits):
            if i not in self._strangers:
                p = in_main_ids(one.to(own.device).softmax(-1), self._roles[i], self._roles[self.main], own.shape[1])
                kept += weights[:, i : i + 1] * p
                heard += weights[:, i : i + 1]
        nothing = [Evidence(1.0)] * len(own)
        brought = {
            i: self._brought(stranger, logits[i], past.evidence[i] if past else nothing, prior)
            for i, stranger in self._strangers.items()
        }
        heard += sum(weights[:, i : i + 1] * one.total for i, one in brought.items())
        main, fused = prior, prior
        for _ in range(self._method.rounds if brought else 0):
            fused = kept + sum(weights[:, i : i + 1] * one.back(fused) for i, one in brought.items())
            fused = torch.where(heard > 0, fused / heard, main)
        fused = fused if brought else kept
        return fused.log() + own.logsumexp(-1, keepdim=True)  # on the scale of the main model's logits

    @torch.inference_mode()
    def read(self, logits: Sequence[Tensor], past: Past) -> None:
        """See `Fusion`."""
        for i in self._strangers.keys() - past.evidence.keys():
            past.evidence[i] = self._evidence(i, logits[i], past)

    @torch.inference_mode()
    def expected(self, logits: Sequence[Tensor], past: Past | None) -> Sequence[Tensor]:
        """See `Fusion`: the logarithms of the evidence, of straddling tokens behind those that begin here."""
        if past is None:
            return logits
        self.read(logits, past)
        return [_logarithms(one, past.evidence[i]) if i in past.evidence else one for i, one in enumerate(logits)]

    def _evidence(self, member: int, logits: Tensor, past: Past) -> list[Evidence]:
        """A member's evidence at each place."""
        trails = past.trails[member] or [Trail.of()] * len(logits)
        tokens, method = self._strangers[member].tokens, self._method
        return [
            evidence(tokens, one, trail, rest, guess=method.guess, abstain=method.abstain)
            for one, trail, rest in zip(logits, trails, past.unfinished, strict=True)
        ]

    def _brought(self, stranger: _Stranger, logits: Tensor, found: Sequence[Evidence], prior: Tensor) -> _Brought:
        """A member's evidence as edges to main tokens.

        Args:
            stranger: The member.
            logits: Its logits, ``[P, V_i]``.
            found: Its evidence.
            prior: The main model's distribution, ``[P, V_m]``.
        """
        device, (places, width) = prior.device, prior.shape
        here = torch.tensor([[one.here] for one in found], dtype=logits.dtype, device=logits.device)  # [P, 1]
        e, edges = (here * logits.softmax(-1)).to(device), stranger.edges_on(device)
        certain = prior.new_zeros(places, width + 1).scatter_add_(1, edges.single.expand(places, -1), e)[:, :width]
        total = e.sum(-1, keepdim=True)
        rests = stranger.residuals.edges(found, prior)
        start = torch.arange(places, device=device)[:, None]
        count = len(edges.tokens)
        rest, spelled = (torch.tensor(one, dtype=prior.dtype, device=device) for one in (rests.shares, rests.spelled))
        total.index_add_(0, torch.tensor(rests.places, dtype=torch.long, device=device), rest[:, None])
        return _Brought(
            certain,
            total,
            shares=torch.cat([e[:, edges.tokens].reshape(-1), rest]),
            group=torch.cat(
                [
                    (start * count + edges.several[0]).reshape(-1),
                    torch.tensor(rests.groups, dtype=torch.long, device=device) + places * count,
                ]
            ),
            target=torch.cat(
                [
                    (start * width + edges.several[1]).reshape(-1),
                    torch.tensor(rests.targets, dtype=torch.long, device=device),
                ]
            ),
            spelled=self._method.floor * torch.cat([edges.spelled.to(prior.dtype).repeat(places), spelled]),
        )


def _logarithms(logits: Tensor, found: Sequence[Evidence]) -> Tensor:
    """The logarithms of a member's evidence, ``[P, V_i + the most straddling tokens of a place]``."""
    most = max(len(one.straddlers) for one in found)
    here = torch.tensor([[one.here] for one in found], device=logits.device).log()  # [P, 1]
    shares = torch.zeros(len(found), most)
    for place, one in enumerate(found):
        shares[place, : len(one.straddlers)] = torch.tensor([straddler.share for straddler in one.straddlers])
    straddling = shares.to(logits.device).log()
    return torch.cat([logits.log_softmax(-1) + here, straddling], -1)


def _spelling(member: Fusible) -> Spelling:
    if isinstance(member, Spelling):
        return member
    raise ConfigError(
        f"member {member.name} does not tell with which tokens it begins texts, which fusion='surface' needs",
        hint="give it a method first_tokens (see Member), or choose fusion='bayes'",
    )
