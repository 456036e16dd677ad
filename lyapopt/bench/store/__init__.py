"""Times and sizes of the study database."""
