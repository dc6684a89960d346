given   policy/contoso.toml
from    198.51.100.9
mail    clerk@bank.test -> ben@contoso.com
expect  ben@contoso.com refused 5.7.1
because partner connector Bank: TLS is required and the session is in plain text
