given   policy/lists.toml
from    198.51.100.9
mail    x@mail.supplier.test -> ann@contoso.com
header  From: Buyer <x@mail.supplier.test>
subject offer for project falcon
suppose who-is ann@contoso.com = mail_user
suppose list partners = supplier.test
suppose list project names = Project Falcon
expect  ann@contoso.com delivered by connector HQ
because rule Project names stay inside: exception: mail.supplier.test is, or is below, 'supplier.test'
