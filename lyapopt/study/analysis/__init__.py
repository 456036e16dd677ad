"""Studies as tables and figures, read and never written."""
