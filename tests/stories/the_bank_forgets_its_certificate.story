# A self-signed certificate has the right name, but nobody vouches for it.
given   policy/contoso.toml
from    198.51.100.9 tls certificate mail.bank.test
mail    clerk@bank.test -> ben@contoso.com
suppose who-is ben@contoso.com = mail_user
expect  ben@contoso.com refused 5.7.51
because partner connector Bank: the certificate is not to be believed: it is self-signed
