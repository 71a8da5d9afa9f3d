"""Aggregation weights: fixed, per prompt, per token."""
