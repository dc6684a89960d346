"""Who the recipients are."""
