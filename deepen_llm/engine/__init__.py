"""The engine: schedules requests, reads and fuses the members, and takes tokens, for all callers."""
