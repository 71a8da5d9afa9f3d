"""The study behind docs/study.md: what helps an ensemble, measured. ``python -m research.study``.

| file | what |
|---|---|
| generalists.py | four models that each know a part of everything, trained by the specialists' recipe |
| questions.py | what is asked, to choose settings and to report |
| recording.py | the members' logits along the right answers, computed once |
| lab.py, long_lab.py | a setting's outcome: from these, and decoded freely |
| intervals.py | how sure a number is |
| exact.py, geometric.py, outputs.py | what only the study needs: a plain baseline, geometric means, output embeddings |
| tables.py, tuning.py, experiments.py, sweeps.py, suite.py | the questions and their tables |
| surfaces.py, long_answers.py | what is asked of fusion by surfaces: of short answers, and of long ones |
| chains/, given/, commands.py | members for long answers and for given text, and the command line of both |
| document.py, plots.py | tables and pictures for the document |

Nothing else in the package imports this.
"""
