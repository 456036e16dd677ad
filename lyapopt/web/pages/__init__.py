"""The pages at `/lyapopt`: studies read as tables, kept until they change, and sent as figures."""
