"""Given text: how likely ensembles find text that others wrote. ``python -m research.given``.

Four small models of four vocabularies read texts of several fields, each one field more than the others. Whole pieces
of text that none of them read are scored by `EnsembleLLM.score`, under each main model alone and under ensembles.

| file | what |
|---|---|
| texts.py, problems.py | the texts by field, from a folder or from what every machine has, and which are held out |
| members.py, training.py | the four members |
| measure.py, tables.py | what is measured |
"""
