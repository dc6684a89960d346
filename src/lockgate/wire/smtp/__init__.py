"""SMTP without a socket: grammar, states, data, server and client."""
