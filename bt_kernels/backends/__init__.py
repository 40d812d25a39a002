"""The backends: each provides the stages of stages.py; registry.py chooses among them."""
