"""The text side of a member: tokenizer, chat template, tools."""
