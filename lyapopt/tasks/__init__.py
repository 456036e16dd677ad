"""Built-in tasks and models, and the door for a user's own: params -> Training.

Free of torch: `lyapopt.tasks.builder` has what builds, `lyapopt.tasks.catalogue` what there is.
"""
