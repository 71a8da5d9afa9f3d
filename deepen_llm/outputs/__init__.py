"""Results: answers, scores, log-probabilities and traces."""

from deepen_llm.outputs.output import FinishReason, Output, Piece, Sample, Score, Usage
from deepen_llm.outputs.tokens import (
    Candidate,
    MemberView,
    ScoredToken,
    Straddling,
    TokenLogprob,
    TokenTrace,
)
from deepen_llm.outputs.trace import Trace
from deepen_llm.vocabulary.vocabulary import END

__all__ = [
    "END",
    "Candidate",
    "FinishReason",
    "MemberView",
    "Output",
    "Piece",
    "Sample",
    "Score",
    "ScoredToken",
    "Straddling",
    "TokenLogprob",
    "TokenTrace",
    "Trace",
    "Usage",
]
