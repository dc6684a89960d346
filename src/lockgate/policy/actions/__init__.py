"""What a mail flow rule can do, one class each."""
