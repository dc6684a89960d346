"""The door at the terminal."""
