"""The database of a study: making, upgrading, checking, cleaning, copying and deleting it."""
