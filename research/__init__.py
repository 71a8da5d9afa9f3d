"""Research: the study, its models, and the recipe of the bundled specialists."""
