"""The tests beside the packages themselves are collected where these are installed: make test-peers."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("lightly") else ["packages"]
