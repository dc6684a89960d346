# The operator's file keeps hosted mailboxes: Ann's is one, Ben's server is somebody else's.
given   policy/contoso.toml
mailboxes here
from    198.51.100.9
mail    x@sender.test -> ann@contoso.com, ben@contoso.com
suppose who-is ann@contoso.com = mailbox
suppose who-is ben@contoso.com = mail_user
expect  ann@contoso.com delivered by mailbox store
expect  ben@contoso.com delivered by connector HQ with certificate_validation
because mailbox store: ann@contoso.com is a mailbox
