"""Finding out: everything that answers a question."""
