"""Built-in tasks: from parameters of a trial to a training.

`catalogue` and `options` say which tasks, models and options there are, without torch; `builder`,
with `models`, `optimizers` and `data_sets`, makes trainings of them with torch.
"""
