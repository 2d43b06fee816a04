"""What a test says: curves, rules and the answers that they give, with their reasons."""
