"""An ensemble that is loaded on first use, once for all who share it."""
