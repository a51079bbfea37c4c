"""The newest decisions over HTTP, for reading only: nothing is fetched, decided or written because somebody asks.

Every answer is what the log of live decisions says, so that `crp predict` and this server tell the same. With a token every
page asks for it, the description of the pages included. What goes wrong is one sentence without a path.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from hmac import compare_digest
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from crp_pipeline.errors import CrpError, DataContractError
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.registry.card import COIN
from crp_pipeline.settings import PipelineSettings, is_loopback
from crp_pipeline.signals.log import SignalLog, logged_coins
from crp_pipeline.signals.signal import Signal

TOKEN_VARIABLE = "CRP_SERVE_TOKEN"  # noqa: S105
MOST_LINES = 1_000
DAMAGED = "what is stored of this coin is not in order: crp registry verify tells"
BAD_COIN = "a coin is capitals and digits parted by single dashes, such as BTC-USDT"
CoinPath = Annotated[str, Path(pattern=f"^{COIN.pattern}$", max_length=64, description=BAD_COIN)]
LOGGER = logging.getLogger(__name__)
Answer = Callable[[Request], Awaitable[Response]]


class Health(BaseModel):
    """Whether the server answers, and for how many coins it has a decision."""

    status: str
    coins: int


class CoinPage(BaseModel):
    """A coin and its newest decision."""

    coin: str
    closed_at: datetime | None
    """None where what is stored of the coin cannot be read."""
    signal: int | None
    version: str | None
    reason: str
    """Why there is no decision."""


class ChampionPage(BaseModel):
    """Who decides for a coin."""

    coin: str
    version: str
    promoted_at: datetime
    reason: str
    feature_set_id: str
    data_hash: str


def serve(settings: PipelineSettings, *, host: str, port: int, token: str | None) -> None:
    """Answer until interrupted; raises `DataContractError` for a host beyond this machine without a token."""
    import uvicorn

    refuse_open_door(host, token)
    uvicorn.run(create_app(settings, token=token), host=host, port=port, log_level="warning", server_header=False)


def refuse_open_door(host: str, token: str | None) -> None:
    """Nothing for a loopback address or where a token is asked for; raises `DataContractError` otherwise."""
    if not token and not is_loopback(host):
        raise DataContractError(f"host {host} can be reached from elsewhere: set {TOKEN_VARIABLE}, or serve on 127.0.0.1")


def create_app(settings: PipelineSettings, *, token: str | None = None, clock: Callable[[], datetime] | None = None) -> FastAPI:
    """The application; with a `token`, only for who sends it as `Authorization: Bearer`. `clock` tells the present."""
    app = FastAPI(title="crp signals", description=__doc__, docs_url=None, redoc_url=None)
    _guard(app, token)
    _tell_errors(app)
    _add_pages(app, Places(settings.data_dir.resolve()), clock or settings.present)
    return app


def _guard(app: FastAPI, token: str | None) -> None:
    if not token:
        return
    expected = f"Bearer {token}".encode()

    @app.middleware("http")
    async def ask_for_token(request: Request, answer: Answer) -> Response:
        given = request.headers.get("authorization", "").encode("latin-1")
        if compare_digest(given, expected):
            return await answer(request)
        sentence = {"detail": "send the token as Authorization: Bearer"}
        return JSONResponse(sentence, status_code=401, headers={"WWW-Authenticate": "Bearer"})


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        name = str(problem["loc"][-1])
        sentence = BAD_COIN if name == "coin" else f"{name}: {problem['msg']}"
        return JSONResponse({"detail": sentence}, status_code=422)

    @app.exception_handler(CrpError)
    async def damaged(_: Request, error: CrpError) -> JSONResponse:
        LOGGER.error(error)
        return JSONResponse({"detail": DAMAGED}, 503)

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the server could not answer; its own log tells why"}, status_code=500)


def _add_pages(app: FastAPI, places: Places, clock: Callable[[], datetime]) -> None:
    @app.get("/health")
    def health() -> Health:
        """Whether the server answers."""
        return Health(status="ok", coins=len(logged_coins(places.online.parent)))

    @app.get("/coins")
    def coins() -> list[CoinPage]:
        """Every coin that has a decision, with the newest; one whose log is damaged hides no other."""
        found = (_page(places, coin, clock()) for coin in logged_coins(places.online.parent))
        return [page for page in found if page is not None]

    @app.get("/signal/{coin}")
    def signal(coin: CoinPath, response: Response) -> Signal:
        """The newest decision of a coin, or "no decision" and its reason; the header `Age` tells seconds since the close."""
        newest, now = _newest(places, coin), clock()
        response.headers["Age"] = str(max(0, int(newest.age_s(now))))
        return newest.as_of(now)

    @app.get("/history/{coin}")
    def history(coin: CoinPath, limit: Annotated[int, Query(ge=1, le=MOST_LINES)] = 100) -> list[Signal]:
        """The last lines of the coin's log as they were written down, newest first."""
        _newest(places, coin)
        return SignalLog(places.signals(coin)).latest(limit)[::-1]

    @app.get("/champion/{coin}")
    def champion(coin: CoinPath) -> ChampionPage:
        """Who decides for a coin, since when and why."""
        return _champion(Registry(places.registry), coin)


def _page(places: Places, coin: str, now: datetime) -> CoinPage | None:
    """The coin's newest decision; None where its first line was cut off."""
    try:
        found = SignalLog(places.signals(coin)).latest()
    except CrpError as error:
        LOGGER.error(error)  # noqa: TRY400
        return CoinPage(coin=coin, closed_at=None, signal=None, version=None, reason=DAMAGED)
    if not found:
        return None
    it = found[-1].as_of(now)
    return CoinPage(coin=it.coin, closed_at=it.closed_at, signal=it.signal, version=it.version, reason=it.reason)


def _newest(places: Places, coin: str) -> Signal:
    found = SignalLog(places.signals(coin)).latest()
    if not found:
        raise HTTPException(404, f"{coin} has no decision yet")
    return found[-1]


def _champion(book: Registry, coin: str) -> ChampionPage:
    version = book.champion(coin)
    if version is None:
        raise HTTPException(404, f"{coin} has no champion")
    card = book.card_alone(coin, version)
    raised = next(it for it in reversed(book.history(coin)) if it.action in {"promote", "rollback"})
    told: dict[str, Any] = {name: str(card.get(name, "")) for name in ("feature_set_id", "data_hash")}
    return ChampionPage(coin=coin, version=version, promoted_at=datetime.fromisoformat(raised.at), reason=raised.reason, **told)
