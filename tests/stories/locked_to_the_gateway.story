# Everybody else has to come through the gateway; so does mail without a sender.
given   policy/partners.toml
from    198.51.100.9
mail    <> -> ben@contoso.com
expect  ben@contoso.com refused 5.7.51
because partner connector Gateway: its sender domain * covers <> (null sender)
because demand of Gateway: one of its addresses: 198.51.100.9 is none of them
