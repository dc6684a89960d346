# Out of office is told to the bank only, whose remote domain beats the Default.
given   policy/partners.toml
from    198.51.100.9 tls certificate mail.contoso.com trusted
mail    <> -> x@far.test, clerk@bank.test
header  Auto-Submitted: auto-replied
expect  x@far.test dropped "no automatic reply may leave to far.test (remote domain *: auto_reply_enabled = false)"
expect  clerk@bank.test delivered by mx bank.test
because remote domain bank.test: it names bank.test most exactly, and lets such mail out
