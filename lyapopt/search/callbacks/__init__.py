"""Callbacks that watch the training loops of other libraries.

Each is imported from its own module, so that only the library in use is needed.
"""
