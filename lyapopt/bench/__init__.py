"""Rivals, placebos and the protocol that measures them."""
