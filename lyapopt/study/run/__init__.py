"""Running a study: workers that lease groups of trials, train them together and tell them."""
