"""What a process of midterm exits with."""

DONE = 0
MISTAKE = 2
"""Of the user's."""
FAILED = 3
"""An outcome that is asked to be an error, or a check that fails."""
INTERRUPTED = 130
TERMINATED = 143
