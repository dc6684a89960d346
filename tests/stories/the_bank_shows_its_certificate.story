given   policy/contoso.toml
from    198.51.100.9 tls certificate mail.bank.test trusted
mail    clerk@bank.test -> ben@contoso.com
suppose who-is ben@contoso.com = mail_user
expect  ben@contoso.com delivered by connector HQ with certificate_validation
because partner connector Bank: the certificate is for mail.bank.test
