"""Tests that can use a GPU: they need torch, transformers, pydantic, typer and pytest, and no installation."""
