"""Peers that the tests talk to over real sockets on loopback."""
