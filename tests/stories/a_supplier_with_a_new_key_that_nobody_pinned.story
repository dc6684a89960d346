given   policy/partners.toml
from    198.51.100.9 tls certificate anything.test trusted key 3333333333333333333333333333333333333333333333333333333333333333
mail    clerk@supplier.test -> ben@contoso.com
expect  ben@contoso.com refused 5.7.51
because the key of the certificate is none of the pinned keys
