"""`lyapopt bench rates`: learning rates that finders choose, on search lines trained in full."""
