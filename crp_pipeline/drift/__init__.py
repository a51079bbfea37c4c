"""Whether today still resembles what the champion learned from, and what to do where it does not."""
