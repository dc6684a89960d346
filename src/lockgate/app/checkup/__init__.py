"""Looking an installation over: what is missing before mail can flow, and the line that mends it."""
