"""Two machines and their depot, on filesystems of memory and of local files."""

from uuid import uuid4

import pytest

from crp_pipeline.depot import Depot
from crp_pipeline.places import Places
from crp_pipeline_tests.depots import A_NIGHT, COIN, write


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return f"memory://{uuid4().hex}/nested" if request.param == "memory" else f"file://{tmp_path}/bucket"


@pytest.fixture
def machines(tmp_path, url):
    """Two machines: each its depot and its places."""
    return [(Depot(url, machine=name), Places(tmp_path / name)) for name in ("first", "second")]


@pytest.fixture
def both(machines):
    """... of which the first has pushed a night, and the second has pulled it."""
    (here, mine), (there, theirs) = machines
    write(mine, A_NIGHT)
    here.push(mine, COIN)
    there.pull(theirs, COIN)
    return machines
