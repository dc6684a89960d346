# No CA vouches for it, and none has to: the key is the identity. The second pin is for the roll-over.
given   policy/partners.toml
from    198.51.100.9 tls certificate anything.test self-signed key 2222222222222222222222222222222222222222222222222222222222222222
mail    clerk@supplier.test -> ben@contoso.com
suppose who-is ben@contoso.com = mail_user
expect  ben@contoso.com delivered by connector HQ
because partner connector Supplier: it names the sender domain supplier.test
because demand of Supplier: a certificate with a pinned key: the key of the certificate is one of the pinned keys
