"""Long answers, decoded freely: chains of look-ups in a made-up world. ``python -m deepen_llm.study.chains``.

Every member was taught errors of some kinds of step, always the same ones, and it is as sure of these as of what is
true. Most steps are known to all three members or to two of them, a few to one: so a long answer is seldom right
without the others, and an ensemble must neither lose the thread nor the words.

| file | what |
|---|---|
| world.py | places, facts, and who was taught what |
| wordings.py | questions and answers in words, and their reader |
| questions.py | what is asked, to choose settings and to report |
| checker.py | right, wrong, or derailed |
| vocabularies.py, members.py, training.py | the three members |
| settings.py, measure.py, tables.py | what is measured |
"""
