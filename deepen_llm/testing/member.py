"""Conformance tests of a member (laws 4 and 5): a context gives the logits of reading the whole text afresh."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deepen_llm.errors import LogitsError
from deepen_llm.members.base import Context, Member
from deepen_llm.members.text.encoding import Draft, Prompt


class MemberTests:
    """Laws of one member. Subclass it as ``TestMine``, and override the fixtures ``member`` and ``broken_member``.

    Attributes:
        prompts: Prompts of different lengths.
        pieces: Text that is appended to each, step by step; words that the tokenizer knows.
        atol: Largest absolute difference between logits of one text that is read in different portions.
        rtol: Largest difference, as a share of the logit, beyond ``atol``.
    """

    prompts: Sequence[str] = ("The quick brown fox", "1, 2, 3,")
    pieces: Sequence[str] = (" jumps", " over", " the", " la", "zy dog", ".", " The", " end")
    atol: float = 2e-4
    rtol: float = 1e-4

    @pytest.fixture
    def member(self) -> Member:
        """The member to test; it may be shared by all tests."""
        raise NotImplementedError("override the fixture `member`, which returns the member to test")

    @pytest.fixture
    def broken_member(self) -> Member:
        """A member whose logits are NaN, such as one with a weight that is NaN."""
        raise NotImplementedError("override the fixture `broken_member`, which returns a member whose logits are NaN")

    def test_a_text_in_pieces_has_the_ids_and_logits_of_the_whole(self, member: Member) -> None:
        """Law 4."""
        context, text = self._opened(member), ""
        for piece in self.pieces:
            context.append([[piece] for _ in self.prompts])
            text += piece
            whole = self._opened(member)
            whole.append([[text] for _ in self.prompts])
            assert context.ids == whole.ids
            self._assert_read_afresh(member, context)

    def test_tokens_are_kept_as_they_are(self, member: Member) -> None:
        """Also where the tokenizer would encode their text as other tokens."""
        context = self._opened(member)
        ids, tokens = _ids(context), self._tokens(member)
        for token in tokens:
            context.append([[token] for _ in self.prompts])
        assert context.ids == [[*prompt, *tokens] for prompt in ids]
        self._assert_read_afresh(member, context)

    def test_logits_are_of_the_vocabulary(self, member: Member) -> None:
        """As wide as the vocabulary, fp32, on the member's device; ids beyond the tokenizer cannot come next."""
        context = self._opened(member)
        logits = context.logits()
        assert logits.shape == (len(self.prompts), member.vocabulary.size)
        assert logits.dtype == torch.float32
        assert logits.device == member.device
        assert bool(logits[:, member.vocabulary.tokenizer_size :].isneginf().all())
        assert bool(logits.amax(-1).isfinite().all())

    def test_a_text_is_what_its_tokens_spell(self, member: Member) -> None:
        """Law 5."""
        context, text = self._opened(member), ""
        for piece in self.pieces:
            context.append([[piece] for _ in self.prompts])
            text += piece
            for prompt, ids in zip(self.prompts, context.ids, strict=True):
                assert self._spelled(member, ids).strip() == (prompt + text).strip()

    def test_a_continuation_has_the_ids_that_a_context_gives_it(self, member: Member) -> None:
        """`encode_continuation` gives the ids of the text in a context."""
        text = "".join(self.pieces)
        for prompt in map(member.encode_prompt, self.prompts):
            context = member.open([prompt])
            context.append([[text]])
            if context.ids[0][: len(prompt.ids)] == list(prompt.ids):
                assert [*prompt.ids, *member.encode_continuation(prompt, text)] == context.ids[0]

    def test_a_draft_has_the_logits_that_its_steps_have(self, member: Member) -> None:
        """At each boundary, and the context's text does not change."""
        for draft in (self._tokens(member), list(self.pieces)):
            context = self._opened(member)
            before, ids = context.logits(), _ids(context)
            drafts: list[Draft] = [draft for _ in self.prompts]
            lengths = context.boundaries(drafts)
            reading = context.read(drafts)
            context.check()
            assert [len(boundaries) for boundaries in reading.lengths] == [len(boundaries) for boundaries in lengths]
            expected = [
                self._step_by_step(member, sequence, draft, len(boundaries))
                for sequence, boundaries in enumerate(lengths)
            ]
            self._assert_close(reading.logits, torch.cat(expected))
            ends = context.read(drafts, ends_only=True)
            self._assert_close(ends.logits, torch.cat([of_sequence[-1:] for of_sequence in expected]))
            assert context.ids == ids
            self._assert_close(context.logits(), before)

    def test_added_are_the_tokens_that_appending_a_drafts_last_step_adds(self, member: Member) -> None:
        """`added` gives them, or None; for drafts of tokens it gives them always."""
        tokens = self._tokens(member)
        for draft in ([], tokens[:1], tokens, [self.pieces[0]]):
            context = self._opened(member)
            predicted = context.added([draft for _ in self.prompts])
            context.append([draft[:-1] for _ in self.prompts])
            before = _ids(context)
            context.append([draft[-1:] for _ in self.prompts])
            for added, old, new in zip(predicted, before, context.ids, strict=True):
                assert added is None or [*old, *added] == new
            if all(isinstance(step, int) for step in draft):
                assert predicted == [list(draft[-1:])] * len(self.prompts)

    def test_a_draft_that_is_not_appended_has_no_effect(self, member: Member) -> None:
        """After a draft was read, another continuation is appended."""
        context = self._opened(member)
        context.read([self._tokens(member) for _ in self.prompts])
        context.append([[self.pieces[1]] for _ in self.prompts])
        self._assert_read_afresh(member, context)

    def test_sequences_of_a_batch_do_not_disturb_each_other(self, member: Member) -> None:
        """Sequences of different lengths, of which only some are extended at a step."""
        context = self._opened(member)
        alone = [member.open([member.encode_prompt(prompt)]) for prompt in self.prompts]
        for step, piece in enumerate(self.pieces):
            steps = [[piece] if (step + sequence) % 3 else [] for sequence in range(len(self.prompts))]
            context.append(steps)
            for sequence, single in enumerate(alone):
                single.append([steps[sequence]])
            self._assert_close(context.logits(), torch.cat([single.logits() for single in alone]))
            assert context.ids == [single.ids[0] for single in alone]

    def test_sequences_are_selected_copied_and_reordered(self, member: Member) -> None:
        """A sequence that is named twice is copied, and its copies are independent; unnamed sequences are removed."""
        context = self._opened(member)
        context.logits()
        order = [len(self.prompts) - 1, 0, 0]
        expected = [_ids(context)[sequence] for sequence in order]
        context.select(order)
        assert context.ids == expected
        context.append([[piece] for piece in self.pieces[:3]])
        self._assert_read_afresh(member, context)
        context.select([2])
        context.append([[self.pieces[3]]])
        self._assert_read_afresh(member, context)

    @pytest.mark.parametrize("read", [(False, False), (True, False), (False, True), (True, True)])
    def test_sequences_join_others(self, member: Member, read: tuple[bool, bool]) -> None:
        """Sequences of another context follow those of this one, whether or not either was read before."""
        contexts = [member.open([member.encode_prompt(prompt)]) for prompt in (self.prompts[0], self.prompts[-1])]
        for context, is_read in zip(contexts, read, strict=True):
            context.append([list(self.pieces[:3])])
            if is_read:
                context.logits()
        first, second = contexts
        expected = [*_ids(first), *_ids(second)]
        first.join(second)
        assert first.ids == expected
        self._assert_read_afresh(member, first)
        first.append([[self.pieces[3]], []])
        self._assert_read_afresh(member, first)
        first.close()
        assert first.ids == []

    def test_sequences_join_a_context_whose_sequences_have_left(self, member: Member) -> None:
        """As when all running requests have ended and waiting ones begin."""
        context = self._opened(member)
        context.logits()
        context.select([])
        context.join(self._opened(member))
        self._assert_read_afresh(member, context)

    def test_trails_are_what_was_read_before_a_boundary(self, member: Member) -> None:
        """With ``back``: the last tokens, the newest first, with the logits before each of them and their norms."""
        context = member.open([member.encode_prompt(self.prompts[0])], back=3)
        for piece in self.pieces[:4]:
            context.append([[piece]])
            (ids,), reading = context.ids, context.read([()])
            (trail,) = reading.trails
            count = len(trail.tokens)
            assert list(trail.tokens) == ids[: len(ids) - count - 1 : -1]
            assert count <= 3
            if count:
                before = [self._afresh(member, ids[: len(ids) - k]) for k in range(1, count + 1)]
                self._assert_close(torch.stack(list(trail.logits)), torch.stack(before))
                norms = torch.stack([logits.logsumexp(-1) for logits in before])
                self._assert_close(torch.stack(list(trail.norms)), norms)

    def test_a_reread_text_spells_the_same(self, member: Member) -> None:
        """`reread` replaces the appended tokens by the tokenizer's encoding, where that is not longer."""
        context = self._opened(member)
        for token in self._tokens(member):
            context.append([[token] for _ in self.prompts])
        before = _ids(context)
        context.reread(range(len(self.prompts)))
        for old, new in zip(before, context.ids, strict=True):
            assert len(new) <= len(old)
            assert self._spelled(member, new) == self._spelled(member, old)
        self._assert_read_afresh(member, context)

    def test_log_probabilities_of_a_prompt_are_those_of_its_tokens_one_by_one(self, member: Member) -> None:
        """The log-probability of each token after those before it."""
        prompts = [member.encode_prompt(prompt) for prompt in self.prompts]
        for prompt, logprobs in zip(prompts, member.prompt_logprobs(prompts), strict=True):
            assert logprobs.device.type == "cpu"
            before = [self._afresh(member, prompt.ids[:length]) for length in range(1, len(prompt.ids))]
            expected = [float(logits.log_softmax(-1)[id_]) for logits, id_ in zip(before, prompt.ids[1:], strict=True)]
            self._assert_close(logprobs, torch.tensor(expected))

    def test_first_tokens_begin_their_texts(self, member: Member) -> None:
        """The bytes that a token spells are the first of the text; -1 where there is no such token."""
        texts = [piece.encode() for piece in (*self.pieces, "Zwölf", "\n", "3")]
        for text, token in zip(texts, member.first_tokens(texts), strict=True):
            assert token == -1 or text.startswith(member.vocabulary.surfaces[token] or b"-")

    def test_its_properties_are_valid(self, member: Member) -> None:
        """Sizes are not negative; embeddings have at most one row per token, or a reason is given for none."""
        assert isinstance(member.device, torch.device)
        assert member.context_length is None or member.context_length > 0
        assert member.weight_bytes >= 0
        assert member.bytes_per_token >= 0
        if member.embedding is None:
            assert member.missing_embedding
        else:
            assert member.embedding.dim() == 2
            assert len(member.embedding) <= member.vocabulary.size

    def test_logits_that_are_nan_are_an_error(self, broken_member: Member) -> None:
        """Neither a context nor `prompt_logprobs` returns them."""
        context = self._opened(broken_member)
        with pytest.raises(LogitsError, match=broken_member.name):
            context.logits()
        with pytest.raises(LogitsError, match=broken_member.name):
            broken_member.prompt_logprobs([broken_member.encode_prompt(prompt) for prompt in self.prompts])

    def _opened(self, member: Member) -> Context:
        return member.open([member.encode_prompt(prompt) for prompt in self.prompts])

    def _tokens(self, member: Member) -> list[int]:
        """Tokens that may follow any prompt: the first of each piece."""
        firsts = member.first_tokens([piece.encode() for piece in self.pieces])
        tokens = [token for token in firsts if token >= 0]
        assert tokens, "`pieces` must hold a text that the tokenizer has a token for"
        return tokens

    def _afresh(self, member: Member, ids: Sequence[int]) -> Tensor:
        """Logits ``[V_i]`` after these tokens, in a context that has read nothing else."""
        context = member.open([Prompt(tuple(ids), len(ids), "", ("",))])
        try:
            return context.logits()[0]
        finally:
            context.close()

    def _step_by_step(self, member: Member, sequence: int, draft: Draft, count: int) -> Tensor:
        """Logits at the first ``count`` boundaries of a draft whose steps are appended one by one, ``[count, V_i]``."""
        context = member.open([member.encode_prompt(self.prompts[sequence])])
        logits = [context.logits()]
        for step in draft[: count - 1]:
            context.append([[step]])
            logits.append(context.logits())
        return torch.cat(logits)

    def _spelled(self, member: Member, ids: Sequence[int]) -> str:
        return b"".join(member.vocabulary.surfaces[id_] or b"" for id_ in ids).decode(errors="replace")

    def _assert_read_afresh(self, member: Member, context: Context) -> None:
        self._assert_close(context.logits(), torch.stack([self._afresh(member, ids) for ids in context.ids]))

    def _assert_close(self, actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, atol=self.atol, rtol=self.rtol)


def _ids(context: Context) -> list[list[int]]:
    """A copy of each sequence's tokens: a context may later change the lists that it returns."""
    return [list(ids) for ids in context.ids]
