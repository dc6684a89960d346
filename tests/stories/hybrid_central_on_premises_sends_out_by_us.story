# What on-premises itself sends out by us is not sent back to it.
given   policy/hybrid_central.toml
from    192.0.2.25 tls certificate mail.contoso.com trusted
mail    julie@contoso.com -> x@home.test
expect  x@home.test delivered by mx home.test
because connector HQ: it is for contoso.com, all mail to the outside, but this mail came from an own server
