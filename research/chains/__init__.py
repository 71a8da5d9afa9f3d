"""Long answers without a grammar: chains of look-ups in an invented world. ``python -m research.chains``.

The world, the questions, the checker and the bundled members are in `deepen_llm.demo.long_answers`; here the members
are trained, and ensembles of them measured.

| file | what |
|---|---|
| vocabularies.py, members.py, training.py | the three members |
| settings.py, measure.py, tables.py | the measurement |
"""
