"""Keeping: message bytes in segments, everything else in SQLite, one process that writes."""
