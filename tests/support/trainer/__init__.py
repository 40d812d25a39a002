"""What the trainer's tests share. PROGRAMS are started as processes of their own, most of them by torchrun."""

from pathlib import Path

PROGRAMS = Path(__file__).with_name("programs")
