# On-premises says that Julie lives here, our directory says that she lives there: told at once, and nothing goes round.
given   policy/hybrid_both_ways.toml
from    192.0.2.25 tls certificate mail.contoso.com trusted
mail    x@sender.test -> julie@contoso.mail.example
suppose who-is julie@contoso.com = mail_user
expect  julie@contoso.mail.example deferred 4.4.6
because coexistence: julie@contoso.mail.example says that the mailbox is here, and the directory has julie@contoso.com on the other side
