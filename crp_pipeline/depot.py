"""Artifacts of several machines in one bucket: objects named after their content, and an index per coin."""
