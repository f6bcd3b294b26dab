"""What goes to which stream: data to stdout, messages and progress to stderr. Colour only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    import rich.progress


MOST_NAMED = 20
"""Lines of a list that are printed; ``--json`` has all."""


def printable(text: str) -> str:
    """The text on one line: line breaks and control characters, which a file name may hold, become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class Progress(Protocol):
    """Shows how far a run over objects has come."""

    def start(self, count: int) -> None:
        """The run begins; it has `count` objects."""

    def advance(self, line: str, *, validated: int = 0, failed: bool = False) -> None:
        """One object is done: `line` tells how, `validated` is how many of its grasps were simulated."""


@dataclass(frozen=True)
class Console:
    """The two streams of a command, as its common flags want them."""

    command: str = ""
    """Name of the command, for its JSON document."""
    json: bool = False
    """stdout gets one JSON document instead of text."""
    quiet: bool = False
    """stderr gets errors only."""

    def document(self, content: Mapping[str, object]) -> None:
        """Print the JSON document of the command."""
        import orjson

        print(orjson.dumps({"command": self.command, **content}, option=orjson.OPT_INDENT_2).decode())

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        print(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> None:
        """Print a table: the first column left-aligned, all others right-aligned unless they hold `text`; never cut where nobody sets a
        width."""
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index and not text else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        RichConsole(file=sys.stdout, width=None if sys.stdout.isatty() else 10_000).print(table)

    def named(self, title: str, lines: Sequence[str]) -> None:
        """Print a list under its title, after an empty line; the first `MOST_NAMED` lines of it, nothing for an empty list."""
        if lines:
            self.line()
            self.line(f"{title}:")
        for line in lines[:MOST_NAMED]:
            self.line(f"  {line}")
        if len(lines) > MOST_NAMED:
            self.line(f"  … and {len(lines) - MOST_NAMED} more; --json names them all")

    def note(self, text: str) -> None:
        """Tell the user something that is no result."""
        if not self.quiet:
            print(printable(text), file=sys.stderr)

    def error(self, text: str) -> None:
        """Tell the user what is wrong with one thing while the others go on."""
        print(f"graspgen: {printable(text)}", file=sys.stderr)

    @contextmanager
    def progress(self, *, lines: bool = True) -> Iterator[Progress]:
        """Progress on stderr: a bar on a terminal, a line an object elsewhere, failures alone where it is to be quiet.

        lines: False where objects are so quick that those that are well are not worth a line each.
        """
        if self.quiet or not (lines or sys.stderr.isatty()):
            yield LineProgress(sys.stderr, failures_only=True)
        elif not sys.stderr.isatty():
            yield LineProgress(sys.stderr)
        else:
            with _bar() as bar:
                yield BarProgress(bar)


@dataclass
class LineProgress:
    """One plain line an object."""

    stream: TextIO
    failures_only: bool = False
    count: int = 0
    done: int = 0

    def start(self, count: int) -> None:
        """The run begins."""
        self.count = count

    def advance(self, line: str, *, validated: int = 0, failed: bool = False) -> None:
        """One object is done."""
        self.done += 1
        if failed or not self.failures_only:
            print(f"[{self.done}/{self.count}] {printable(line)}", file=self.stream, flush=True)


@dataclass
class BarProgress:
    """A bar with count, rates and time left; failures stay above it."""

    bar: rich.progress.Progress
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    validated: int = 0
    task: rich.progress.TaskID | None = None

    def start(self, count: int) -> None:
        """The run begins."""
        self.started = time.monotonic()
        self.task = self.bar.add_task("objects", total=count, rates="")

    def advance(self, line: str, *, validated: int = 0, failed: bool = False) -> None:
        """One object is done."""
        assert self.task is not None, "start comes first"
        self.done += 1
        self.validated += validated
        if failed:
            self.bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        rates = rates_text(self.done, self.validated, time.monotonic() - self.started)
        self.bar.update(self.task, advance=1, rates=rates)


def rates_text(objects: int, validated: int, seconds: float) -> str:
    """Objects and validated grasps a second."""
    seconds = max(seconds, 1e-9)
    text = f"{objects / seconds:.2f} objects/s"
    return f"{text}, {validated / seconds:.0f} validated grasps/s" if validated else text


def _bar() -> rich.progress.Progress:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}"),
        TimeRemainingColumn(),
        console=RichConsole(stderr=True),
        speed_estimate_period=600,
    )
