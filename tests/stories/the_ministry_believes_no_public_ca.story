given   policy/partners.toml
from    198.51.100.9 tls certificate mail.ministry.test trusted-by public
mail    clerk@ministry.test -> ben@contoso.com
expect  ben@contoso.com refused 5.7.51
because no CA certificate in /etc/lockgate/ministry.pem vouches for the certificate (public CAs do)
