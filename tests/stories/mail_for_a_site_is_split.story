# One message for two people: Rosa's copy goes to the site, Sam's to the head office.
given   policy/contoso.toml
from    198.51.100.9
mail    x@sender.test -> rosa@nola.contoso.com, sam@contoso.com
suppose who-is rosa@nola.contoso.com = mail_user
suppose who-is sam@contoso.com = mail_user
expect  rosa@nola.contoso.com delivered by connector NOLA
expect  sam@contoso.com delivered by connector HQ with certificate_validation
because rule City: the recipient's domain is nola.contoso.com
