"""From the arguments of a call to its answers: prompts are encoded and decoded, answers returned or streamed."""
