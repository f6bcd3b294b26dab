"""The output of commands: results on stdout, messages and progress on stderr. Colour only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import rich.progress

MOST_NAMED = 20
"""Lines of a list that are printed; ``--json`` has all."""


def printable(text: str) -> str:
    """The text on one line, with escapes for line breaks and control characters, which a file name may contain."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


@dataclass
class Progress:
    """The progress of a run over objects: one line an object, or for failures only."""

    stream: TextIO
    failures_only: bool = False
    count: int = 0
    done: int = 0

    def start(self, count: int) -> None:
        """The run begins, with `count` objects."""
        self.count = count

    def advance(self, line: str, *, validated: int = 0, failed: bool = False) -> None:
        """One object is done. line: its result. validated: number of its simulated grasps."""
        self.done += 1
        if failed or not self.failures_only:
            print(f"[{self.done}/{self.count}] {printable(line)}", file=self.stream, flush=True)


@dataclass
class BarProgress(Progress):
    """A bar with count, rates and time left, under the lines of failures."""

    bar: rich.progress.Progress | None = None
    validated: int = 0

    def start(self, count: int) -> None:
        """See `Progress`."""
        assert self.bar is not None
        self.bar.add_task("objects", total=count, rates="")

    def advance(self, line: str, *, validated: int = 0, failed: bool = False) -> None:
        """See `Progress`."""
        assert self.bar is not None
        self.done += 1
        self.validated += validated
        if failed:
            self.bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        (task,) = self.bar.tasks
        self.bar.update(task.id, advance=1, rates=rates_text(self.done, self.validated, task.elapsed or 0.0))


@dataclass(frozen=True)
class Console:
    """The output of a command. command: its name, for the JSON document. json: stdout gets one JSON document instead of text. quiet: stderr
    gets errors only."""

    command: str = ""
    json: bool = False
    quiet: bool = False

    def document(self, content: Mapping[str, object]) -> None:
        """Print the JSON document of the command."""
        import orjson

        print(orjson.dumps({"command": self.command, **content}, option=orjson.OPT_INDENT_2).decode())

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        print(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> None:
        """Print a table: the first column left-aligned, the others right-aligned unless they hold `text`; not cut without a terminal."""
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
        """Print the first `MOST_NAMED` lines of a list under its title, after an empty line; nothing for an empty list."""
        if lines:
            self.line()
            self.line(f"{title}:")
        for line in lines[:MOST_NAMED]:
            self.line(f"  {line}")
        if len(lines) > MOST_NAMED:
            self.line(f"  … and {len(lines) - MOST_NAMED} more; --json names them all")

    def note(self, text: str) -> None:
        """Print a note, which is no part of the result."""
        if not self.quiet:
            print(printable(text), file=sys.stderr)

    def error(self, text: str) -> None:
        """Print an error that does not end the command."""
        print(f"graspgen: {printable(text)}", file=sys.stderr)

    @contextmanager
    def progress(self, *, lines: bool = True) -> Iterator[Progress]:
        """Progress on stderr: a bar on a terminal, a line an object elsewhere; failures only with --quiet or without `lines`."""
        if self.quiet or not sys.stderr.isatty():
            yield Progress(sys.stderr, failures_only=self.quiet or not lines)
        else:
            with _bar() as bar:
                yield BarProgress(sys.stderr, bar=bar)


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
