"""A study from start to end: the same search written plainly, and run by lyapopt."""
