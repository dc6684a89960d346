"""How mail is spoken: bytes in, events out, no sockets."""
