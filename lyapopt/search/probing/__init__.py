"""Probing configurations before a trial is trained: what steering and screening share."""
