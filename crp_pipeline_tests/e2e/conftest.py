"""The whole corridor many times over, with a shorter proof per coin, a control report from nowhere and blank pictures.

The proof's full length is held by the leakage tests, the controls by their own; a module that says `DRAWS_PICTURES = True` has
every picture drawn.
"""

import pytest

from crp_pipeline_tests.e2e.corridor import green_report, shorten_proof
from crp_pipeline_tests.e2e.web_server import CHROMIUM, CHROMIUM_ARGS, chromium


@pytest.fixture(scope="module", autouse=True)
def short_proof():
    with pytest.MonkeyPatch.context() as patch:
        shorten_proof(patch.setattr)
        yield


@pytest.fixture(scope="module", autouse=True)
def green_controls():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crp_pipeline.defs.controls.run_suite", lambda *, now, **_: green_report(now))
        yield


@pytest.fixture(scope="module", autouse=True)
def blank_pictures(request):
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWS_PICTURES", False):
            patch.setattr("crp_pipeline.reporting.figures.png", lambda _: b"")
        yield


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install '.[dev]'")
    path = chromium() or pytest.skip(f"no browser: none of {', '.join(CHROMIUM)} is on the PATH")
    with playwright.sync_playwright() as it:
        running = it.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        yield running
        running.close()
