"""How a message moves: the imperative shell around the judge."""
