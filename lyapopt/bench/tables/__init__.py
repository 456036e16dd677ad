"""Every configuration of a grid, trained once and kept: what comparisons replay."""
