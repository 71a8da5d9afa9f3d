"""What the tasks ask: questions that the bundled specialists can answer, and texts made of them."""

from typing import Any

from datasets import Dataset, DatasetDict

from deepen_llm import specialists


def questions(**_: Any) -> DatasetDict:
    return DatasetDict({split: Dataset.from_list(_questions(split)) for split in ("dev", "test")})


def texts(**_: Any) -> DatasetDict:
    said = [f"{one['question']} {one['answer']}." for one in _questions("test")]
    told = [
        " ".join(said[:3]),
        "\n".join(said),
        "Zwölf Boxkämpfer, 你好 👩‍💻.",
    ]  # the second is longer than a window
    return DatasetDict({"test": Dataset.from_list([{"text": text} for text in told])})


def _questions(split: Any) -> list[dict[str, Any]]:
    """Three of each subject, with the answers to choose from."""
    asked = specialists.questions(split)
    subjects = [
        [one for one in asked if one.subject == subject][:3] for subject in sorted({one.subject for one in asked})
    ]
    return [
        {"question": one.question, "answer": one.answer, "choices": sorted({other.answer for other in subject})}
        for place in range(3)
        for subject in subjects
        for one in subject[place : place + 1]
    ]
