"""From the arguments of a call to its answers: prompts are encoded, decoded by the engine, and returned whole or as streams."""
