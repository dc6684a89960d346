given   policy/partners.toml
from    198.51.100.9 tls certificate mail.bank.test,mx.bank.test no-intermediate
mail    clerk@bank.test -> ben@contoso.com
expect  ben@contoso.com refused 5.7.51
because the peer sent no intermediate certificate with it
