"""`backtest`: the live system's deciders over candles or trades, in memory, and the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.console import AsJson, CommandError, ExitCode, print_json, say

if TYPE_CHECKING:
    from commands.backtest_inputs import Prepared
    from replay.report import Report

BULKY = ("trade_list",)
"""In report.json, not on the terminal."""


def backtest(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH…",
            help="Candles or trades (Parquet or CSV), a folder of them, or an archive of a run.",
        ),
    ],
    profile: Annotated[str, typer.Option(help="production or testnet.")] = "production",
    policy: Annotated[
        Path | None, typer.Option(help="JSON or TOML of policy fields that differ from it.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="A shipped strategy (default baseline).")
    ] = None,
    yardstick: Annotated[
        bool, typer.Option("--yardstick", help="The strategy that other engines are timed with.")
    ] = False,
    book: Annotated[
        str | None, typer.Option(help="Hold a gross exposure without stops, e.g. long:1.5.")
    ] = None,
    signals: Annotated[
        Path | None, typer.Option(help="Signals of a file: CSV, Parquet or JSON lines.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Begin of trading (UTC); default: after warm-up.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, exclusive (UTC).")] = None,
    warm_up: Annotated[
        int, typer.Option(min=0, max=8760, help="Hours of closed candles before it, not traded.")
    ] = 24,
    equity: Annotated[str | None, typer.Option(help="Start equity, USDT.")] = None,
    fees: Annotated[
        str | None, typer.Option(help="TAKER or TAKER,MAKER in percent, e.g. 0.05,0.02.")
    ] = None,
    slippage: Annotated[
        str | None, typer.Option(help="Half spread in bp; impact comes on top of it.")
    ] = None,
    latency: Annotated[int | None, typer.Option(help="Decision to fill, ms (250).")] = None,
    funding: Annotated[
        list[Path] | None, typer.Option(help="Funding rates of a symbol; may be repeated.")
    ] = None,
    instruments: Annotated[
        Path | None, typer.Option(help="JSON of filters, fees, brackets of other symbols.")
    ] = None,
    slow: Annotated[
        bool, typer.Option("--slow", help="Look at every point in plain Python: same bytes.")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="policy.field=a,b,c: every variant, in and out of sample."),
    ] = None,
    split: Annotated[
        float, typer.Option(help="In-sample share of the period of a sweep, percent.")
    ] = 70,
    out: Annotated[
        Path | None, typer.Option(help="Folder for events, report.json and report.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the deciders over candles or trades, in memory, and report.

    \b
    Examples:
      ./quantum backtest data/market/BTCUSDT-1m-20210516-20210522.parquet
      ./quantum backtest BTC.parquet ETH.parquet --from 2021-05-17 --to 2021-05-20
      ./quantum backtest BTC.parquet --policy my.toml --fees 0.04,0.02 --out made
      ./quantum backtest BTC.parquet --sweep risk_target_pct=0.25,0.5,1
      ./quantum backtest BTC.parquet --signals mine.csv --funding rates.parquet
      ./quantum backtest archive/      the candles of a recorded run

    No network, no broker, no database. Figures and rules: docs/backtest.md; what it assumes:
    docs/assumptions.md.
    """
    from commands.backtest_inputs import Options, prepare

    prepared = prepare(
        Options(
            paths=paths,
            profile=profile,
            policy=policy,
            strategy=strategy,
            yardstick=yardstick,
            book=book,
            signals=signals,
            start=start,
            end=end,
            warm_up_h=warm_up,
            equity=equity,
            fees=fees,
            slippage=slippage,
            latency_ms=latency,
            funding=funding or (),
            instruments=instruments,
            path="slow" if slow else "fast",
        )
    )
    _tell_gaps(prepared)
    if sweep:
        _sweep(prepared, sweep, split, out, as_json)
        return
    _run(prepared, out, as_json)


def _run(prepared: "Prepared", out: Path | None, as_json: bool) -> None:
    from commands.backtest_report import print_backtest
    from replay.backtest import run
    from replay.report import report

    made = report(run(prepared.backtest), files=prepared.files)
    if out is not None:
        _write(made, out)
    if as_json:
        print_json({key: value for key, value in made.figures.items() if key not in BULKY})
    else:
        print_backtest(made)


def _sweep(
    prepared: "Prepared", texts: list[str], split: float, out: Path | None, as_json: bool
) -> None:
    from commands.backtest_report import print_sweep
    from replay.sweep import parse_sweep, sweep

    if out is not None:
        raise CommandError(
            "--out writes the report of one run: choose a variant, give it by --policy and leave "
            "--sweep out",
            ExitCode.MISUSE,
        )
    try:
        found = sweep(prepared.backtest, parse_sweep(texts), in_sample_pct=split)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    if as_json:
        print_json(found.json())
    else:
        print_sweep(found)


def _tell_gaps(prepared: "Prepared") -> None:
    """Missing candles are counted and told before anything else, as nothing fills them in; so is a
    warm-up that is shorter than asked for."""
    from commands.backtest_report import gap_lines, warm_up_lines

    for line in (*gap_lines(prepared.backtest), *warm_up_lines(prepared.backtest)):
        say(line)


def _write(made: "Report", folder: Path) -> None:
    from commands.backtest_out import write_out

    try:
        written: dict[str, Any] = write_out(made, folder)
    except OSError as error:
        raise CommandError(
            f"--out {folder}: {error.strerror or error}; give a folder that can be written",
            ExitCode.MISUSE,
        ) from None
    for name, what in written.items():
        say(f"{folder / name}: {what}")
