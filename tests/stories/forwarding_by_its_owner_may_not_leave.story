# Contoso lets nobody forward to the outside; an administrator may.
given   policy/no_forwarding.toml
mailboxes here
from    198.51.100.9
mail    x@sender.test -> ann@contoso.com, bob@contoso.com
suppose who-is ann@contoso.com = mailbox forwarding a@elsewhere.test with copy by user
suppose who-is bob@contoso.com = mailbox forwarding b@elsewhere.test
expect  ann@contoso.com delivered by mailbox store
expect  a@elsewhere.test dropped "forwarding that people set up may not leave to elsewhere.test (remote domain *)"
expect  bob@contoso.com resolved
expect  b@elsewhere.test delivered by mx elsewhere.test
