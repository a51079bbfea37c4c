"""Every feature once more, as a notebook writes it: pandas, slow and plain, from the feature's description alone.

One file per family, `PLAIN` in each: name of the feature -> the same from `PlainBars`. It is the oracle of the fast catalogue and the
other side of its benchmark, so nothing here may call the catalogue's own code.
"""
