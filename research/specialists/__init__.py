"""How the bundled specialists are trained. ``python -m research.specialists.recipe``."""
