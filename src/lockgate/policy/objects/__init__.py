"""The kinds of policy object, one file each."""
