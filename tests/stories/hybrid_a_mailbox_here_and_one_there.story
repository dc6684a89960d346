# Ana's mailbox lies in the organisation's own store, Julie's on the old servers: one message, two ways.
given   policy/hybrid.toml
from    198.51.100.9
mail    x@sender.test -> ana@contoso.com, julie@contoso.com
suppose who-is ana@contoso.com = mailbox
suppose who-is julie@contoso.com = mail_user
expect  ana@contoso.com delivered by mailbox store Dovecot
expect  julie@contoso.com delivered by connector HQ with certificate_validation
because mailbox store Dovecot: ana@contoso.com is a mailbox
