"""Token healing: a prompt that ends inside a token that its member would have written.

A member that writes " Nairobi" in one token was not trained on " N" followed by the rest, so its distribution after
" N" is not usable. Its distributions at earlier boundaries are: they give evidence (`straddling`) over the tokens that
began in the prompt. With ``b_k`` the last bytes, and ``w``, ``Z`` as there,

    q(v) = p_n(v) / Z + Σ_{u, k: first(r) = v} w_k(u) / Z        r is the rest of u after b_k

over the member's own tokens. Where all covers of the last bytes are known, q is the distribution of the token that
follows these bytes. Covers that were not read are left out, and the share of a rest that no token begins goes to
``p_n``. A straddling token predicts nothing after its rest, so its share goes to the first token of the rest's
encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from deepen_llm.fusion.base import Spelling
from deepen_llm.fusion.past import Trail
from deepen_llm.fusion.surfaces.correspondence import Tokens
from deepen_llm.fusion.surfaces.expected import Evidence
from deepen_llm.fusion.surfaces.straddling import evidence
from deepen_llm.members.base import Reading

BACK = 4
"""The number of token boundaries before the end of the text at which a member is read, by default."""


class Healer:
    """Corrects members' distributions after a prompt that ends inside a token.

    Args:
        members: All members.
    """

    def __init__(self, members: Sequence[Spelling]) -> None:
        self._members, self._known = members, dict[int, Tokens]()

    @torch.inference_mode()
    def heal(self, member: int, reading: Reading, answer_bytes: Sequence[int | None]) -> Reading:
        """A member's reading, with its evidence at each boundary; unchanged to the bit where none of it straddles.

        Args:
            member: Its index.
            reading: Its reading, with trails.
            answer_bytes: At each boundary, the number of bytes of the answer so far; None to leave it unchanged.
        """
        if all(count is None for count in answer_bytes):
            return reading
        boundaries = zip(reading.logits, reading.trails, answer_bytes, strict=True)
        evidence_of = [self._evidence(member, *boundary) for boundary in boundaries]
        healed = [
            self._in_own_tokens(member, logits, expected) if expected.straddlers else logits
            for logits, expected in zip(reading.logits, evidence_of, strict=True)
        ]
        straddles = any(expected.straddlers for expected in evidence_of)
        return replace(reading, logits=torch.stack(healed) if straddles else reading.logits, evidence=evidence_of)

    def _evidence(self, member: int, logits: Tensor, trail: Trail, answer_bytes: int | None) -> Evidence:
        """A member's evidence at one boundary; see `heal`."""
        tokens = self._tokens(member)
        size = len(trail.dropped) + sum(len(tokens.surfaces[token] or b"") for token in trail.tokens)
        if answer_bytes is None or size <= answer_bytes:  # nothing was read as far back as the prompt
            return Evidence(1.0)
        return evidence(tokens, logits, trail, b"", guess=0.0, abstain=False, answered=answer_bytes)

    def _in_own_tokens(self, member: int, logits: Tensor, expected: Evidence) -> Tensor:
        """A member's evidence in its own tokens, on the scale of its logits, ``[V]`` both."""
        tokens, p = self._tokens(member), logits.softmax(-1)
        straddlers = expected.straddlers
        rests = [(tokens.surfaces[straddler.token] or b"")[len(straddler.behind) :] for straddler in straddlers]
        firsts = self._firsts(member, rests)
        begun = [(id_, straddler.share) for id_, straddler in zip(firsts, straddlers, strict=True) if id_ >= 0]
        ids = torch.tensor([id_ for id_, _ in begun], dtype=torch.long, device=p.device)
        q = (expected.here * p).index_add_(0, ids, p.new_tensor([share for _, share in begun]))
        q += (1 - q.sum()).clamp(min=0) * p
        return q.log() + logits.logsumexp(-1)

    def _firsts(self, member: int, rests: Sequence[bytes]) -> list[int]:
        """The member's first token of each rest; where its encoding is not known, the longest that it begins with."""
        longest = self._members[member].vocabulary.longest
        firsts = self._tokens(member).firsts(rests)
        return [id_ if id_ >= 0 else longest(rest) for id_, rest in zip(firsts, rests, strict=True)]

    def _tokens(self, member: int) -> Tokens:
        if member not in self._known:
            self._known[member] = Tokens(self._members[member])
        return self._known[member]
