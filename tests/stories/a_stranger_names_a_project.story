given   policy/lists.toml
from    198.51.100.9
mail    x@stranger.test -> ann@contoso.com
header  From: x@stranger.test
subject What is PROJECT   Falcon?
suppose who-is ann@contoso.com = mail_user
suppose list project names = Project Falcon, Heron
expect  ann@contoso.com refused 5.7.1
because rule Project names stay inside: the subject has 'Project Falcon', which is on the list project names
