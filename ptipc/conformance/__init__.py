"""Is somebody else's program a good citizen?  The cases, how they are played, and what follows."""
