given   policy/contoso.toml
from    198.51.100.9 tls certificate mail.stranger.test trusted
mail    x@sender.test -> x@example.net
expect  x@example.net refused 5.4.1
because relay right: example.net is no accepted domain
