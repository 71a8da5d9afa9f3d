"""Diagnostics of members before they are fused, and pictures of them."""
