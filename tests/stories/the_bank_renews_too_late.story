# The certificate has expired; the refusal says since when.
given   policy/partners.toml
from    198.51.100.9 tls certificate mail.bank.test expired
mail    clerk@bank.test -> ben@contoso.com
expect  ben@contoso.com refused 5.7.51
because partner connector Bank: its sender domain *.bank.test covers bank.test
because demand of Bank: TLS: the session has TLSv1.3
because demand of Bank: a certificate for *.bank.test: the certificate is not to be believed: the certificate expired on 2030-03-16
because partner connector Gateway: it covers the sender, but Bank names the sender's domain more exactly
