"""Pytest kits that third parties can subclass."""
