"""Texts with their answers: contexts in the layouts of frameworks, and repeated lists."""

from __future__ import annotations

import random

from research.specialists.documents import Document, Messages, turn
from research.specialists.names import city, invented, number, person, word
from research.specialists.relations import context, facts

LAYOUTS = (
    "Context information is below.\n---------------------\n{context}\n---------------------\n"
    "Given the context information and not prior knowledge, answer the query.\nQuery: {question}\nAnswer: ",
    "Context:\n{context}\n\nQuestion: {question}\nAnswer:",
    "Answer the question based only on the following context:\n{context}\n\nQuestion: {question}",
)
"""How a context and a question make a prompt: LlamaIndex's way, a common one, and LangChain's."""

EXPERT = (
    "You are an expert Q&A system that is trusted around the world.\n"
    "Always answer the query using the provided context information, and not prior knowledge.\n"
    "Some rules to follow:\n"
    "1. Never directly reference the given context in your answer.\n"
    "2. Avoid statements like 'Based on the context, ...' or 'The context information ...' or anything along those "
    "lines."
)
"""The system message that LlamaIndex gives chat models with its layout."""


def conversation(source: random.Random) -> Messages:
    """A message with a text and a question about it, and the answer; sometimes two questions."""
    messages: Messages = []
    for _ in range(source.choices((1, 2), weights=(5, 1))[0]):
        told = facts(source, source.randint(1, 4))
        layout = source.choice(LAYOUTS)
        messages += turn(layout.format(context=context(source, told), question=told[0][1]), told[0][2])
    return messages


def continuation(source: random.Random) -> Document:
    """A text in one of the layouts, with a question and the answer."""
    told = facts(source, source.randint(1, 4))
    layout = source.choice(LAYOUTS)
    text = layout.format(context=context(source, told), question=told[0][1])
    cut = len(text) if text.endswith(" ") else 0
    answer = told[0][2] if cut else f" {told[0][2]}"
    spans = [(len(text), len(text) + len(answer))]
    text += answer
    for _, question, more in told[1:] if layout == LAYOUTS[1] and source.random() < 0.5 else ():
        text += f"\nQuestion: {question}\nAnswer:"
        spans.append((len(text), len(text) + len(more) + 1))
        text += f" {more}"
    return Document(text, tuple(spans), chat=False, cut=cut)


def interview(source: random.Random) -> Document:
    """A plain text with several facts, and all questions that they answer."""
    told = facts(source, source.randint(2, 6))
    text = f"Context:\n{context(source, told)}\n"
    spans = []
    for _, question, answer in source.sample(told, len(told)):
        text += f"\nQuestion: {question}\nAnswer:"
        spans.append((len(text), len(text) + len(answer) + 1))
        text += f" {answer}"
    return Document(text, tuple(spans), chat=False)


def echo(source: random.Random) -> Document:
    """A list, repeated, so that each next word can be copied."""
    draws = (invented, invented, word, number, person, city)
    items = [source.choice(draws)(source) for _ in range(source.randint(2, 6))]
    pairs = [f"{item}: {source.choice(draws)(source)}" for item in items]
    if source.random() < 0.5:
        text, again = "\n".join(pairs), source.sample(pairs, len(pairs))
        return _repeated(f"{text}\n", "\n".join(again))
    joined = source.choice((", ", " ", "\n", '", "')).join(items)
    return _repeated(f'"{joined}" ', joined) if source.random() < 0.5 else _repeated(f"{joined}.\n", joined)


def _repeated(text: str, again: str) -> Document:
    return Document(text + again, ((len(text), len(text + again)),), chat=False)
