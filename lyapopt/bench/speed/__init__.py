"""Times beside rivals, interleaved in one run."""
