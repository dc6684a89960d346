# What on-premises returns is delivered, and what Ana forwards goes by on-premises as well, once.
given   policy/hybrid_central.toml
from    192.0.2.25 tls certificate mail.contoso.com trusted
mail    x@sender.test -> ana@contoso.mail.example
suppose who-is ana@contoso.com = mailbox forwarding ana@home.test with copy
expect  ana@contoso.mail.example delivered by mailbox store Dovecot to ana@contoso.com
expect  ana@home.test delivered by connector HQ with domain_validation
