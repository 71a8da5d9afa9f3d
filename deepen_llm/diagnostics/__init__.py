"""What may help or harm an ensemble, measured before it is used; and the pictures of it."""
