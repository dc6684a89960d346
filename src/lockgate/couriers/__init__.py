"""Carrying mail onward to the next hop."""
