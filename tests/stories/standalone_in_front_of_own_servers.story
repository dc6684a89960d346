# Contoso's mailboxes are on its own servers; the directory proves which of them exist.
given   policy/contoso.toml
from    198.51.100.9
mail    x@sender.test -> ben@contoso.com, info@contoso.com, nobody@contoso.com, postmaster@contoso.com
suppose who-is ben@contoso.com = mail_user
suppose who-is info@contoso.com = mail_user ben@contoso.com
expect  ben@contoso.com delivered by connector HQ with certificate_validation
expect  info@contoso.com resolved
because duplicates: the same recipient already gets it as ben@contoso.com
expect  nobody@contoso.com refused 5.4.1
expect  postmaster@contoso.com delivered by connector HQ with certificate_validation
because directory: it does not know nobody@contoso.com, and contoso.com is authoritative
because connector HQ: it is for all accepted domains
