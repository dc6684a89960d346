"""Reports between mail systems: DMARC aggregates (RFC 9990) and TLS (RFC 8460), read safely and written."""
