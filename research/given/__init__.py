"""Given text: likelihood of existing texts under ensembles. ``python -m research.given``.

Four small models with four vocabularies are trained on texts of several fields, each on one field more than the others.
Held-out pieces of text are scored by `EnsembleLLM.score`, under each main model alone and under ensembles.

| file | what |
|---|---|
| texts.py, problems.py | the texts by field, from a folder or from Python's own files, and which are held out |
| members.py, training.py | the four members |
| measure.py, tables.py | the measurement |
"""
