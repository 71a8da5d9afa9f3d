"""Choosing an ensemble on a development set: its members, main model, fusion, weights and gate."""
