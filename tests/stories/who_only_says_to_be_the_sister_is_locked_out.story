given   policy/partners.toml
from    198.51.100.9 tls certificate fabrikam.com
mail    eva@fabrikam.com -> ben@contoso.com
expect  ben@contoso.com refused 5.7.51
because partner connector Sister: it trusts fabrikam, and no server or login of theirs sends this
