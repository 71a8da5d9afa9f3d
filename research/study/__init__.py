"""The study of docs/study.md: measurements of what helps an ensemble. ``python -m research.study``.

| file | what |
|---|---|
| generalists.py | four models that each know a part of every subject, trained by the specialists' recipe |
| questions.py | the development and test questions |
| recording.py | the members' logits along the right answers, computed once |
| lab.py, long_lab.py | a setting's outcome: from recorded logits, and of long answers |
| intervals.py | bootstrap intervals |
| geometric.py, outputs.py | parts of the study only: geometric means, output embeddings |
| tables.py, tuning.py, experiments.py, sweeps.py, suite.py | the questions and their tables |
| surfaces.py, long_answers.py | tables of fusion by surfaces, for short and for long answers |
| commands.py | the command line of `research.chains` and `research.given` |
| document.py, plots.py | tables and pictures for the document |
"""
