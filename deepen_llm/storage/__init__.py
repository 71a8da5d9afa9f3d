"""Storage on disk of results that are expensive to compute, under fingerprints of their inputs."""
