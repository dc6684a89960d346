given   policy/partners.toml
from    198.51.100.9 tls certificate mail.ministry.test trusted-by /etc/lockgate/ministry.pem
mail    clerk@ministry.test -> ben@contoso.com
suppose who-is ben@contoso.com = mail_user
expect  ben@contoso.com delivered by connector HQ
because demand of Ministry: a certificate for mail.ministry.test: the certificate is for mail.ministry.test
