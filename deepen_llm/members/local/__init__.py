"""The model side of a member that `transformers` runs in this process."""
