given   policy/contoso.toml
from    203.0.113.66
mail    x@sender.test -> ben@contoso.com
expect  ben@contoso.com refused 5.7.513
because IP block list: it names 203.0.113.66 (203.0.113.0/24)
