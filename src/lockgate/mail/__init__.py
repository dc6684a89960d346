"""The nouns: a piece of mail, what is known of it, what is decided of it."""
