"""What the owner wants: documents, kinds, and the compiled policy."""
