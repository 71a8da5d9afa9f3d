"""The study of docs/study.md: measurements of what helps an ensemble. ``python -m research.study``.

| file | what |
|---|---|
| generalists.py | four models that each know a part of every subject, trained by the specialists' recipe |
| questions.py | the development and test questions |
| recording.py | the members' logits along the right answers, computed once |
| lab.py, long_lab.py | a setting's outcome: from recorded logits, and of long answers |
| intervals.py | bootstrap intervals |
| exact.py, geometric.py, outputs.py | parts of the study only: a plain baseline, geometric means, output embeddings |
| tables.py, tuning.py, experiments.py, sweeps.py, suite.py | the questions and their tables |
| surfaces.py, long_answers.py | tables of fusion by surfaces, for short and for long answers |
| chains/, given/, commands.py | members for long answers and for given text, and the command line of both |
| document.py, plots.py | tables and pictures for the document |

Nothing else in the package imports this.
"""
