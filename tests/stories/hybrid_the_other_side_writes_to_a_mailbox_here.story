# On-premises sends mail for Ana, who lives here, to her coexistence address; the header is not touched.
given   policy/hybrid_both_ways.toml
from    192.0.2.25 tls certificate mail.contoso.com trusted
mail    x@sender.test -> ana@contoso.mail.example
suppose who-is ana@contoso.com = mailbox
expect  ana@contoso.mail.example delivered by mailbox store Dovecot to ana@contoso.com
because directory: it does not know ana@contoso.mail.example itself, but mailbox ana@contoso.com: contoso.mail.example is the coexistence domain of contoso.com
