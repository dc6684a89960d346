"""What a message is made of: its parts, read as tolerantly as the most tolerant mail program (RFC 2045 to 2049)."""
