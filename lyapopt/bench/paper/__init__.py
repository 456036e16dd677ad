"""The claims of arXiv:2410.05988, over hundreds of settings of its problem."""
