"""The relative space of anchors, which fusion by embeddings goes through."""
