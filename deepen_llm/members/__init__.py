"""The models that take part: weights, tokenizer, and what each has read so far."""
