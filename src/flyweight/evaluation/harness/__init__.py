"""The community's benchmarks: tasks of lm-eval, run by an engine of our own.

Prompts, splits, few-shot draws, filters and metrics are lm-eval's (`loading`); the data come from the hub or from
local files (`catalogue`, `local_data`); `adapter` answers lm-eval's requests with our engine. lm-eval and what it
brings are imported only when a benchmark is run.
"""
