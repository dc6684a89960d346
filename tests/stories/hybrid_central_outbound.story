# What a program of this side sends to the Internet goes by on-premises.
given   policy/hybrid_central.toml
from    192.0.2.80
mail    ana@contoso.com -> x@home.test
expect  x@home.test delivered by connector HQ with domain_validation
