given   policy/partners.toml
from    198.51.100.9 tls certificate fabrikam.com trusted
mail    eva@fabrikam.com -> ben@contoso.com
suppose who-is ben@contoso.com = mail_user
expect  ben@contoso.com delivered by connector HQ
because partner connector Sister: it trusts fabrikam, whose server or login sends this
because partner connector Gateway: it covers the sender, but Sister trusts fabrikam
