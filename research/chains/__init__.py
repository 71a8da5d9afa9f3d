"""Long answers, decoded freely: chains of look-ups in a made-up world. ``python -m research.chains``.

The world, the questions and what becomes of an answer are in `deepen_llm.demo.long_answers`, with the members that are
bundled; here they are trained, and ensembles of them measured.

| file | what |
|---|---|
| vocabularies.py, members.py, training.py | the three members |
| settings.py, measure.py, tables.py | what is measured |
"""
