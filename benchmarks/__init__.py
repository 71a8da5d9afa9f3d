"""What decoding costs, as ratios that are measured in one run: ``python -m benchmarks``.

`suite.py` lists the parts and which rows each measures; `rows.py` says what the rows are and their targets.

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

What they have in common: `text.py` and `tokenizers.py` make a language and its vocabularies, `models.py` models of real
shapes with random weights, `script.py` lets them agree on a text as trained models do, `floor.py` is the price that
everything is compared with.
"""
