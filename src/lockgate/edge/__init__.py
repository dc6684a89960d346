"""The door for mail: listeners, TLS and limits."""
