"""Vocabularies as bytes, against the tokenizers themselves."""
