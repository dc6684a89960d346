given   policy/contoso.toml
from    198.51.100.9
mail    x@sender.test -> ben@contoso.com
declared 157286401
suppose who-is ben@contoso.com = mail_user
expect  everything refused 5.3.4
because size limit: the message is said to have 157286401 octets, 157286400 are allowed
