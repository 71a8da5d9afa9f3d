"""Benchmarks of decoding, as ratios measured in one run: ``python -m benchmarks``.

`suite.py` lists the parts and the rows that each measures; `rows.py` defines the rows and their targets.

| rows | measured in |
|---|---|
| plain, drafts, batch, members | decoding.py |
| context | context.py |
| reference | reference_row.py, against the loop in reference.py |
| fused-peaked, fused-flat, fused-broad, each also with -bayes and -surface | fused.py |
| memory | memory.py |
| startup-first, startup-second | startup.py |
| specialists-* | specialists.py |
| gpu-* | gpu.py |

Shared parts: `text.py` and `tokenizers.py` make a language and its vocabularies, `models.py` models of real shapes with
random weights, `script.py` makes them agree on a text as trained models do, `floor.py` is the baseline.
"""
