"""The demonstration: bundled models alone, and as one ensemble, on questions none of them was trained on."""
