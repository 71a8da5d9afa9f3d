"""The demonstration: the bundled specialists alone, and as one ensemble, on questions none of them was trained on."""
