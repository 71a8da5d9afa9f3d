"""Pictures of an ensemble's members, as ``matplotlib.figure.Figure``s: they take data and touch no global state.

They need the extra ``plot`` (matplotlib, scikit-learn).
"""
