# Centralised transport: what comes from the Internet goes to on-premises first, mailboxes here included.
given   policy/hybrid_central.toml
from    198.51.100.9
mail    x@sender.test -> ana@contoso.com, julie@contoso.com
suppose who-is ana@contoso.com = mailbox forwarding ana@home.test with copy
suppose who-is julie@contoso.com = mail_user
expect  ana@contoso.com delivered by connector HQ with domain_validation
expect  julie@contoso.com delivered by connector HQ with domain_validation
because connector HQ: all messages go by on-premises
because forwarding of ana@contoso.com: its mail goes by on-premises first (specification 2.6)
