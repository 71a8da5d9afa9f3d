"""From the arguments of a call to its answers: prompts are encoded, decoded and given back, whole or as streams."""
