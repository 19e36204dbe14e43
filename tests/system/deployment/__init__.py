"""A whole deployment into an emulated account."""
