"""Artifacts of several machines in one bucket: objects named after their content, and a numbered index per coin.

    <url>/objects/ab/cdef...             a file by its SHA-256; never altered
    <url>/index/<coin>/<number>.json     a generation: which files the coin consists of, who pushed it and when
    <url>/index/shared/<number>.json     the same of what belongs to no single coin: market, controls, summary

`data_dir` stays the working copy of its machine. A push uploads the objects that are new and then creates the next generation,
which only one can: the store refuses a second file of that name. So a push happens whole or not at all, a push that was killed
leaves objects that nobody names, and whoever comes second must pull first. Where both sides have changed, the journals decide
what is a continuation of what, and everything else is refused with a sentence: a coin's files are those of one machine after
those of the other, never a mixture.
"""

from crp_pipeline.depot.contents import SHARED
from crp_pipeline.depot.depot import Depot, Moved, Standing
from crp_pipeline.depot.generation import Generation, Stamp

__all__ = ["SHARED", "Depot", "Generation", "Moved", "Stamp", "Standing"]
