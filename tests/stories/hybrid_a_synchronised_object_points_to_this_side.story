# Synchronised from on-premises, Ana is a mail user whose target address is in the coexistence domain: she lives here.
given   policy/hybrid_both_ways.toml
from    198.51.100.9
mail    x@sender.test -> ana@contoso.com
suppose who-is ana@contoso.com = mail_user -> ana@contoso.mail.example
expect  ana@contoso.com delivered by mailbox store Dovecot
