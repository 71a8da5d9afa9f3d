"""Token healing: a prompt that ends inside a token that its member would have written.

After " N" a member that writes " Nairobi" in one token continues a text that it never saw so cut; what it says next is
nonsense. What it meant is its evidence at the boundaries before (`straddling`), over the tokens that began in the
prompt alone: those of the answer are the member's own choice. With ``b_k`` the last bytes, and ``w``, ``Z`` as there,

    q(v) = p_n(v) / Z + Σ_{u, k: first(r) = v} w_k(u) / Z        r what u has behind b_k

over the member's own tokens. Where all covers of the last bytes are known it is the distribution of what follows these
bytes; covers that nobody has read are left out, and a rest that no token begins stays with ``p_n``. A straddling token
tells its own rest and nothing of what comes behind it, so no longer token than its first is spelled.
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
"""At how many token boundaries before the end of the text a member is read, where the fusion method does not say."""


class Healer:
    """Heals what members say behind a prompt.

    Args:
        members: All members.
    """

    def __init__(self, members: Sequence[Spelling]) -> None:
        self._members, self._known = members, dict[int, Tokens]()

    @torch.inference_mode()
    def heal(self, member: int, reading: Reading, answered: Sequence[int | None]) -> Reading:
        """What a member says, with its evidence at each place; to the bit as it was where none of it straddles.

        Args:
            member: Its index.
            reading: What it says, with trails.
            answered: At each place, how many bytes of the answer stand behind the prompt; None to heal nothing there.
        """
        if all(count is None for count in answered):
            return reading
        places = zip(reading.logits, reading.trails, answered, strict=True)
        found = [self._evidence(member, *place) for place in places]
        healed = [
            self._spelled(member, logits, one) if one.straddlers else logits
            for logits, one in zip(reading.logits, found, strict=True)
        ]
        logits = torch.stack(healed) if any(one.straddlers for one in found) else reading.logits
        return replace(reading, logits=logits, evidence=found)

    def _evidence(self, member: int, logits: Tensor, trail: Trail, answered: int | None) -> Evidence:
        """A member's evidence at one place; see `heal`."""
        tokens = self._tokens(member)
        size = len(trail.dropped) + sum(len(tokens.surfaces[token] or b"") for token in trail.tokens)
        if answered is None or size <= answered:  # nothing was read as far back as the prompt
            return Evidence(1.0)
        return evidence(tokens, logits, trail, b"", guess=0.0, abstain=False, answered=answered)

    def _spelled(self, member: int, logits: Tensor, found: Evidence) -> Tensor:
        """A member's evidence in its own tokens, on the scale of its logits, ``[V]`` both."""
        tokens, p = self._tokens(member), logits.softmax(-1)
        rests = [(tokens.surfaces[one.token] or b"")[len(one.behind) :] for one in found.straddlers]
        firsts = self._firsts(member, rests)
        begun = [(id_, one.share) for id_, one in zip(firsts, found.straddlers, strict=True) if id_ >= 0]
        ids = torch.tensor([id_ for id_, _ in begun], dtype=torch.long, device=p.device)
        q = (found.here * p).index_add_(0, ids, p.new_tensor([share for _, share in begun]))
        q += (1 - q.sum()).clamp(min=0) * p
        return q.log() + logits.logsumexp(-1)

    def _firsts(self, member: int, rests: Sequence[bytes]) -> list[int]:
        """The member's first token of each rest; where its tokenizer tells none, the longest that it begins with."""
        longest = self._members[member].vocabulary.longest
        firsts = self._tokens(member).firsts(rests)
        return [id_ if id_ >= 0 else longest(rest) for id_, rest in zip(firsts, rests, strict=True)]

    def _tokens(self, member: int) -> Tokens:
        if member not in self._known:
            self._known[member] = Tokens(self._members[member])
        return self._known[member]
