"""The switchboard: configuration, wiring, life and death."""
