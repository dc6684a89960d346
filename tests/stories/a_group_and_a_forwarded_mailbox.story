# A group has members here, at the site and outside; one of them has her mail sent on.
given   policy/contoso.toml
from    198.51.100.9
mail    x@sender.test -> sales@contoso.com, ben@contoso.com
suppose who-is sales@contoso.com = distribution_group
suppose members-of sales@contoso.com = ben@contoso.com, eve@contoso.com, rosa@nola.contoso.com, gone@contoso.com
suppose who-is ben@contoso.com = mail_user
suppose who-is eve@contoso.com = mailbox forwarding eve@elsewhere.test with copy
suppose who-is rosa@nola.contoso.com = mail_user
expect  sales@contoso.com expanded
expect  ben@contoso.com delivered by connector HQ with certificate_validation
expect  eve@contoso.com delivered by connector HQ with certificate_validation
expect  eve@elsewhere.test delivered by mx elsewhere.test
expect  rosa@nola.contoso.com delivered by connector NOLA
expect  gone@contoso.com refused 5.1.10
because group sales@contoso.com: it has 4 members, 1 of them gets it already
because forwarding of eve@contoso.com: an administrator wants mail forwarded to eve@elsewhere.test
because sender: it is sent on for eve@contoso.com, and x@sender.test is not ours
