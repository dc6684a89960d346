# Contoso's own server may send to the world, but only as Contoso.
given   policy/contoso.toml
from    192.0.2.25
mail    ben@contoso.com -> x@example.net
expect  x@example.net delivered by mx example.net
because connector Own servers: the peer 192.0.2.25 is one of its addresses
because relay right: the own-server connector Own servers gives it
