"""Search spaces of other tools as study files; what cannot be carried over is listed."""
