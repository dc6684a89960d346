"""What a mail flow rule can look at, one class each."""
