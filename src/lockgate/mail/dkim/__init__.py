"""DKIM (RFC 6376, 8301, 8463): signatures over header fields and body, checked and made. Keys are handed in."""
