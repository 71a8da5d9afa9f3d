"""Decoding: which sequences are decoded, what each member is asked for, and the token that comes of it."""
