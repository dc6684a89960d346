"""What follows: pure stages that turn policy and facts into a ruling."""
