# Nobody keeps a copy, so the sender hears of it.
given   policy/contoso.toml
from    198.51.100.9
mail    x@sender.test -> ann@contoso.com
suppose who-is ann@contoso.com = mailbox forwarding bob@contoso.com
suppose who-is bob@contoso.com = mailbox forwarding ann@contoso.com
expect  ann@contoso.com resolved
expect  bob@contoso.com refused 5.4.6
because forwarding of bob@contoso.com: whomever it leads to leads back to it, and nobody keeps a copy
