import pytest

pytest.register_assert_rewrite("lyapopt.testing.pruner_kit")
