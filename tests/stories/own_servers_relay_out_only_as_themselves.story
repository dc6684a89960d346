given   policy/contoso.toml
from    192.0.2.25
mail    ben@other.example -> x@example.net
expect  x@example.net refused 5.7.64
because relay right: example.net is no accepted domain, and Own servers relays only for sender domains
