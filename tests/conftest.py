"""What all tests share."""

import gc

from hypothesis import settings

pytest_plugins = ["tests.servers.fixtures"]

# No test depends on the machine's speed.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Run by another interpreter, with libraries that are not ours. And those whose import takes longer than most tests,
# in every process that tests: they have no examples in their texts.
collect_ignore_glob = ["peers/[a-z]*.py", "bench/[!f]*.py", "bench/fold.py", "bench/fold_[!l]*.py", "bench/baselines/*"]

# Nobody looks for garbage among what all the modules bring, neither now nor later.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
