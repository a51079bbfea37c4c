"""The parameter classes: what steers each stage, with unit, default and range."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from crp_pipeline.errors import DataContractError
from crp_pipeline.settings.secret import Options
from crp_pipeline.settings.slippage import read_slippage

TRAINABLE = (
    *("xgboost", "lightgbm", "catboost", "xgboost_regressor", "lightgbm_regressor", "mlp_regressor"),
    *("lstm", "stacked_lstm", "lstm_forecaster", "cnn_lstm", "attention_lstm"),
    *("tcn", "tcn_attention", "transformer", "hybrid"),
)
"""What a roster may name: every model type but the baselines, which are made anyway, and the one that spans all coins."""
INTERVALS = ("1m", "5m", "15m", "30m", "1h", "4h", "1d")
Interval = Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d"]
Share = Annotated[float, Field(gt=0, lt=1)]
_Unbounded = Annotated[float, Field(ge=0)]
CoinName = Annotated[str, Field(pattern=r"^[A-Z0-9]+([-_][A-Z0-9]+)*$")]
SnakeCase = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Delay = Annotated[str, Field(pattern=r"^[0-9]{1,4}(ms|s|min|h|D)$")]
"""A length of time, such as 500ms, 10min, 8h or 1D."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LabelConfig:
    """What a label is: the move from the next open to the open `horizon` bars later, against costs and volatility."""

    horizon: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Bars between entry and exit."""
    neutral_volatility_multiple: Annotated[float, Field(ge=0, le=5)] = 0.25
    """Half-width of the neutral band, in volatilities over the horizon."""
    round_trip_cost_bps: Annotated[float, Field(ge=0, le=1_000)] = 14.0
    """The neutral band is never narrower than this."""
    volatility_window: Annotated[int, Field(ge=10, le=10_000)] = 100
    """Bars of close-to-close returns in the causal volatility."""
    trend_clip: Annotated[float, Field(gt=0, le=20)] = 3.0
    """Largest absolute trend strength."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class WalkForwardConfig:
    """How the history is cut into a training past and a tested future, again and again."""

    train_size: Annotated[int, Field(ge=100)] = 8_760
    """Bars before the first test block."""
    test_size: Annotated[int, Field(ge=20)] = 2_160
    """Bars in each test block."""
    embargo: Annotated[int, Field(ge=0)] = 24
    """Bars kept free between the last training label and a test block, beyond the purge."""
    expanding: bool = True
    """True: train on everything before the block; False: on the last `train_size` bars."""
    validation_share: Share = 0.15
    """Tail of the training block that early stopping watches, purged from the rest."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SelectionConfig:
    """Which features a model learns from, chosen inside each training block and nowhere else."""

    enabled: bool = True
    """False: every model learns from the whole set."""
    keep: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Features that are kept at most, best first."""
    max_correlation: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Of two features whose ranks are correlated more than this, in absolute value, one is dropped; 1 drops none."""
    watch_share: Share = 0.25
    """Tail of a training block on which features are ranked, by a model of the rest, purged."""
    learn_rows: Annotated[int, Field(ge=100)] = 8_000
    """Rows that the ranking model learns from at most; drawn by the seed where there are more."""
    watch_rows: Annotated[int, Field(ge=100)] = 1_500
    """Rows of the tail that are scored at most; drawn by the seed where there are more."""
    correlation_rows: Annotated[int, Field(ge=100)] = 4_000
    """Rows that correlations are taken over at most; drawn by the seed where there are more."""
    n_repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """Times that a feature is permuted on them: neighbouring labels overlap, so more rows say more than more repeats."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ExecutionModel:
    """What it costs to trade and when a position is closed. Fees and slippage are paid on both sides."""

    fee_bps: Annotated[float, Field(ge=0, le=500)] = 5.0
    """Taker fee per side, on notional."""
    maker_fee_bps: Annotated[float, Field(ge=0, le=500)] | None = None
    """Fee of a target fill, which is a resting limit order; None: the taker fee."""
    spread_bps: Annotated[float, Field(ge=0, le=500)] = 2.0
    """Full quoted spread; half of it is paid per side."""
    slippage_bps: Annotated[float, Field(ge=0, le=500)] = 1.0
    """Mean adverse slippage per side."""
    slippage_noise_bps: Annotated[float, Field(ge=0, le=500)] = 0.0
    """Scale of the seeded exponential draw that comes on top of the mean."""
    slippage_volatility_share: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Share of the volatility per bar, known at the close before the fill, that comes on top."""
    slippage_volatility_window: Annotated[int, Field(ge=10, le=10_000)] = 100
    """Bars of close-to-close returns in that volatility."""
    assumed_volatility_bps: Annotated[float, Field(ge=0, le=5_000)] = 50.0
    """Volatility per bar that `cost_per_side_bps` takes the share of, where no bar has told its own; an hour of BTC."""
    slippage_file: Path | None = None
    """CSV or parquet file with one column of adverse bps, from which a seeded draw per bar and side comes on top."""
    funding_bps: Annotated[float, Field(ge=-500, le=500)] = 0.0
    """Rate per stamp at 00, 08 and 16 UTC that a long pays to a short, where no settled rates are given."""
    latency_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0.0
    """Measured time of inference between a bar's close and the order; a fill never gains by it."""
    network_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0.0
    """Mean of the seeded exponential draw of the order's way to the exchange."""
    max_participation: Annotated[float, Field(gt=0, le=1)] | None = None
    """Largest share of the volume of the decision's bar that an order may be; None: any size."""
    cost_factor: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Multiplies what no other field holds: the draws from `slippage_file` and settled funding rates."""
    horizon: Annotated[int, Field(ge=1)] | None = 24
    """Bars after which a position is closed at the open; None holds until stop, target or the end."""
    gap_through_target: Literal["target", "open"] = "target"
    """A bar that opens beyond the target fills at the target (no gift) or at the open."""
    close_at_end: bool = True
    """Close a position that is still open at the end at the close of the last bar that traded; False leaves it open."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draws of slippage and network."""

    @field_validator("slippage_file")
    @classmethod
    def _is_a_sample(cls, path: Path | None) -> Path | None:
        try:
            if path is not None:
                read_slippage(path)
        except DataContractError as error:
            raise ValueError(str(error)) from error
        return path

    @property
    def sample_mean_bps(self) -> float:
        """Mean of the draws from `slippage_file`, 0 without one; raises `DataContractError` where the file is none any more."""
        return 0.0 if self.slippage_file is None else self.cost_factor * float(read_slippage(self.slippage_file).mean())

    @property
    def cost_per_side_bps(self) -> float:
        """Expected cost of one fill: taker fee, half the spread and slippage of every kind.

        Funding is not in it, which the other side receives, nor latency, whose price depends on the length of a bar.
        """
        drawn = self.slippage_noise_bps + self.sample_mean_bps
        scaled = self.slippage_volatility_share * self.assumed_volatility_bps
        return self.fee_bps + self.spread_bps / 2 + self.slippage_bps + drawn + scaled

    def scaled(self, factor: float) -> "ScaledExecution":
        """The same market with every cost times `factor`: fees, spread, slippage and funding; not what a delay costs.

        Whatever settings allow can be scaled. Raises pydantic's `ValidationError` for a negative factor.
        """
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        costs = {name: factor * told[name] for name in _COSTS if told[name] is not None}
        return ScaledExecution(**told | costs)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ScaledExecution(ExecutionModel):
    """An execution model times a factor: its costs may lie above what settings may ask for."""

    fee_bps: _Unbounded = 5.0
    maker_fee_bps: _Unbounded | None = None
    spread_bps: _Unbounded = 2.0
    slippage_bps: _Unbounded = 1.0
    slippage_noise_bps: _Unbounded = 0.0
    slippage_volatility_share: _Unbounded = 0.0
    funding_bps: float = 0.0
    cost_factor: _Unbounded = 1.0


_COSTS = (
    *("fee_bps", "maker_fee_bps", "spread_bps", "slippage_bps", "slippage_noise_bps", "slippage_volatility_share"),
    *("funding_bps", "cost_factor"),
)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ExitConfig:
    """Where stop and target lie, in causal volatilities over the horizon; no side is taken where the stop's price is none."""

    stop_volatility_multiple: Annotated[float, Field(gt=0, le=20)] = 1.5
    target_volatility_multiple: Annotated[float, Field(gt=0, le=20)] = 1.5


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Sizing:
    """How large a position is: a fixed risk of equity over the distance to the stop, capped by leverage."""

    initial_equity: Annotated[float, Field(gt=0)] = 100_000.0
    risk_per_trade: Share = 0.01
    """Share of equity lost when the stop fills at its price, costs included."""
    max_leverage: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Notional over equity at entry; without a stop a position is this large."""
    step_size: Annotated[float, Field(ge=0)] = 0.0
    """Units are rounded down to a multiple of it; 0: any number of units."""
    min_notional: Annotated[float, Field(ge=0)] = 0.0
    """An order that is worth less at the open, after rounding, is not placed; 0: none is too small."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CoinOverrides:
    """What is otherwise for one coin: fields of `execution` and `sizing` by name; all others stay as they are."""

    execution: Mapping[str, Any] = Field(default_factory=dict)
    sizing: Mapping[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PropFirmRules:
    """What a funded account must not lose and must earn; the defaults are those of FTMO's 2-step challenge."""

    daily_loss: Share = 0.05
    """Share of the initial balance that equity may lie below the balance of the midnight before; reaching it fails."""
    total_loss: Share = 0.10
    """Share of the initial balance that equity may lie below it; reaching it fails."""
    profit_targets: Annotated[tuple[Annotated[float, Field(gt=0, le=10)], ...], Field(min_length=1, max_length=10)] = (
        0.10,
        0.05,
    )
    """Share of the initial balance to earn in each step, counted when no position is open."""
    min_trading_days: Annotated[int, Field(ge=0, le=365)] = 4
    """Days on which a position was opened that each step asks for."""
    timezone: str = "Europe/Prague"
    """Where the firm's midnight strikes."""

    @model_validator(mode="after")
    def _known_timezone(self) -> Self:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"timezone = {self.timezone!r} is not in the time zone database, as Europe/Prague is") from error
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EnsembleConfig:
    """How base predictions become one decision."""

    calibration_share: Share = 0.3
    """Latest part of the out-of-fold rows that calibrates and does not fit."""
    tier_quantiles: tuple[Share, Share] = (1 / 3, 2 / 3)
    """Confidence quantiles of earlier decisions that part low, medium and high."""
    regularization: Annotated[float, Field(gt=0)] = 1.0
    """Inverse L2 strength of the meta-model."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.tier_quantiles[0] >= self.tier_quantiles[1]:
            raise ValueError(f"tier_quantiles must rise, got {self.tier_quantiles}")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GateConfig:
    """Thresholds a candidate must pass, in the order in which they are judged.

    A bound that is looser than its default here is in force, and a promotion that needed it says so for good; the two of
    `thresholds` are the user's own and say nothing.
    """

    max_repaired_share: Share = 0.02
    """Share of the bars that no exchange ever printed and `candles` filled in."""
    max_control_age_days: Annotated[float, Field(ge=1)] = 8.0
    """How old the last control run of this code may be, in days that have begun; `controls` runs weekly."""
    min_trades: Annotated[int, Field(ge=0)] = 200
    min_effective_n: Annotated[float, Field(ge=0)] = 100.0
    min_test_days: Annotated[float, Field(ge=0)] = 90.0
    min_tier_trades: Annotated[int, Field(ge=0)] = 30
    """Trades of the tier whose win rate is asked for."""
    max_permutation_p: Share = 0.05
    min_probabilistic_sharpe: Share = 0.95
    min_deflated_sharpe: Share = 0.95
    max_overfitting_probability: Share = 0.50
    """Probability of backtest overfitting; above `ideal_overfitting_probability` it is remarked upon."""
    ideal_overfitting_probability: Share = 0.20
    stress_cost_factor: Annotated[float, Field(ge=1.5, le=10)] = 1.5
    """Every cost times this, and the mean net return must still be positive."""
    max_tier_calibration_error: Share = 0.05
    min_win_rate: Share = 0.68
    ideal_win_rate: Share = 0.70
    win_rate_of: Literal["high", "all"] = "high"
    """Whose win rate `min_win_rate` asks for: trades of the high tier, or all."""
    win_rate_bound: Literal["point", "lower"] = "point"
    """Whether the rate itself or the lower end of its interval must reach it."""
    max_calibration_error: Share = 0.05
    ideal_calibration_error: Share = 0.03
    ideal_sharpe: Annotated[float, Field(gt=0)] = 1.5
    """Annualised."""
    min_challenge_pass_probability: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Chance of passing the prop firm's challenge, over resampled paths."""
    refresh_margins: Annotated[float, Field(gt=0)] = 1.0
    """How much worse a model of the champion's own recipe may be, in margins of 2 bps of equity a day and 0.01 nats a bar."""
    min_e_value: Annotated[float, Field(ge=1)] = 20.0
    """Evidence on fresh decisions at which a changed recipe replaces the champion: by chance in 1 of so many at most."""
    level: Share = 0.95
    """Confidence level of every interval."""
    n_resamples: Annotated[int, Field(ge=100)] = 2_000
    """Bootstrap resamples and permutations."""
    fleet_min_promoted: Annotated[int, Field(ge=1)] = 2
    """The night counts as good when this many ..."""
    fleet_of: Annotated[int, Field(ge=1)] = 3
    """... of this many coins are promoted (the share is applied to any number of coins)."""

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        if self.fleet_min_promoted > self.fleet_of:
            raise ValueError(f"fleet_min_promoted = {self.fleet_min_promoted} must not exceed fleet_of = {self.fleet_of}")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SentinelConfig:
    """What each night's sentinels take for too good to be true."""

    quarantine: bool = True
    """Keep a feature that sets off the alarm from every model; it is never kept from one on the `demo` source."""
    released: tuple[SnakeCase, ...] = ()
    """Features that a person has looked at: they still set off the alarm but are not quarantined."""
    max_feature_auc: Annotated[float, Field(gt=0.5, lt=1)] = 0.60
    """A feature alone may rank up- against down-labels this well, either way round, before it is an alarm."""
    max_feature_z: Annotated[float, Field(gt=0)] = 6.0
    """Standard errors that its AUC may be away from 0.5, however small the distance."""
    false_alarm_level: Share = 0.01
    """Chance that the best of all features reaches `max_feature_auc` by luck; on few labels that alone is no alarm."""
    max_accuracy: Annotated[float, Field(gt=0.5, lt=1)] = 0.60
    """Directional accuracy that is plausible up to `plausibility_horizon`."""
    max_auc: Annotated[float, Field(gt=0.5, lt=1)] = 0.65
    """Directional AUC that is plausible up to `plausibility_horizon`."""
    plausibility_horizon: Delay = "1h"
    """Longest holding time that these two hold for."""
    max_shift_z: Annotated[float, Field(gt=0)] = 4.0
    """Standard errors by which decisions may agree better with labels of another time than with their own."""
    leak_rows: Annotated[int, Field(ge=500)] = 6_000
    """Latest labels with a direction that the leak meter learns from and scores."""
    leak_rounds: Annotated[int, Field(ge=1, le=1_000)] = 30
    """Boosting rounds of its models."""
    leak_folds: Annotated[int, Field(ge=2, le=50)] = 5
    """Folds of each of its two kinds."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DemoConfig:
    """The embedded synthetic market."""

    n_bars: Annotated[int, Field(ge=500, le=10_000_000)] = 20_000
    seed: Annotated[int, Field(ge=0)] = 7
    edge: Annotated[float, Field(ge=0, le=5)] = 1.0
    """kappa of EDGE-DEMO: drift per unit of hidden state, in volatilities."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ExchangeConfig:
    """Where the `exchange` source downloads bars, through ccxt and without a key."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+$")] = "binance"
    """ccxt's id of the exchange."""
    market: Literal["spot", "swap"] = "spot"
    start: date = date(2017, 1, 1)
    """No bar before this day (UTC) is asked for."""
    recheck: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Stored bars that are asked for again, to see whether the exchange restates them."""
    settle_s: Annotated[float, Field(ge=0, le=3_540)] = 10.0
    """Seconds after its close before a bar is taken: trades may be booked late. Of short bars fewer are allowed."""
    max_silence_days: Annotated[float, Field(gt=0)] = 30.0
    """A market whose last bar is older is dead, and an error."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    """Seconds to wait for one answer."""
    retries: Annotated[int, Field(ge=0, le=20)] = 6
    """Further attempts after a request that failed for a passing reason; the pause doubles from 1 s."""
    rate_limit_ms: Annotated[float, Field(ge=0, le=60_000)] | None = None
    """Milliseconds between two requests of weight 1; None: as ccxt knows the exchange."""
    client_options: Options = Field(default_factory=dict)
    """Further options of ccxt's constructor, such as `{"httpsProxy": ...}` or other `urls`."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class FeedConfig:
    """A feed beside the candles: a file of numbers by time, and when each of them was known."""

    path: Annotated[str, Field(min_length=1)]
    """Parquet or CSV; with `{coin}` (BTC-USDT) or `{base}` (BTC) in it one file per coin."""
    available_after: Delay
    """Time from a value's stamp to its publication, which only you know: 1D for a daily mean stamped at its day's start."""
    symbol: str | None = None
    """What the file's coin column calls a coin, such as `{coin}` or `{base}USDT`; None: the file has one series."""
    coins: tuple[CoinName, ...] = ()
    """Coins that have this feed; empty: all. One of these without a file or a row is an error."""
    columns: Mapping[SnakeCase, str] = Field(default_factory=dict)
    """Name here -> column of the file; empty: all as they are. Features read funding_rate, open_interest and fear_greed."""
    max_age: Delay | None = None
    """Age past which a value counts as unknown; None: three of the feed's own steps."""
