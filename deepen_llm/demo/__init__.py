"""The demonstration: bundled models alone and as an ensemble, on questions that none was trained on."""
