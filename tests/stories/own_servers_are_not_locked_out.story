given   policy/partners.toml
from    198.51.100.9 tls certificate mail.contoso.com trusted
mail    <> -> ben@contoso.com, x@far.test
suppose who-is ben@contoso.com = mail_user
expect  ben@contoso.com delivered by connector HQ
expect  x@far.test delivered by mx far.test
because connector Own servers: the certificate is for mail.contoso.com
because partner connectors: own servers and logged-in sessions are exempt
