# Nobody is refused or accepted because a look-up failed: the peer is asked to come back.
given   policy/contoso.toml
from    198.51.100.9
mail    x@sender.test -> ben@contoso.com, x@example.net
suppose who-is ben@contoso.com = unknown the table is being built
expect  ben@contoso.com deferred 4.3.0
expect  x@example.net refused 5.4.1
because directory: it cannot be asked: the table is being built
