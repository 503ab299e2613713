"""Files of recorded data, read a block of rows at a time: CSV (also compressed) and Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ingest.contract.errors import StopError

_BLOCK_BYTES = 4 * 2**20
_BLOCK_CELLS = 1_000_000
_HEAD_BYTES = 2**20
_LONGEST_HEADER = 64 * 2**20
_SEPARATORS = ",;\t|"
_NUMBER = re.compile(r"\s*[+-]?[\d.,]+([eE][+-]?\d+)?\s*").fullmatch
WORDS = pa.dictionary(pa.int32(), pa.utf8())


@dataclass(frozen=True, slots=True)
class Reading:
    """How text is to be read. sep, decimal: None to guess."""

    sep: str | None = None
    decimal: str | None = None
    encoding: str = "utf-8"


@dataclass(slots=True)
class Ragged:
    """Lines with another number of cells than the header; they are left out. example: the first."""

    lines: int = 0
    example: str = ""


class Table(Protocol):
    """A file. columns: their names as they stand there. head: its first rows, with the types that were found."""

    path: Path
    columns: list[str]
    head: pa.RecordBatch
    decimal: str
    said: list[str]
    ragged: Ragged

    def blocks(self, types: dict[int, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """All rows, columns by place. types: what some columns are read as, where the file itself does not say.

        Raises StopError for a file that cannot be read to its end, UnreadCellError for a cell that is not of its type.
        """


class UnreadCellError(StopError):
    """A cell of a column is not of the type that it was to be read as. Whoever looked through the file knows better."""

    def __init__(self, path: Path, column: int) -> None:
        self.column = column
        super().__init__(f"{path}: has changed since it was looked through: run it again")


def open_table(path: Path, reading: Reading) -> Table:
    """Look into a file. Raises StopError, which says what is wrong with it and what to do."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise StopError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not magic:
        raise StopError(f"{path}: is empty: nothing to fold")
    if magic == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
        return ParquetTable(path)
    return CsvTable(path, reading)


class CsvTable:
    """A CSV file with a header."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        self.said: list[str] = []
        self.ragged = Ragged()
        self._encoding = reading.encoding
        first = self._first_lines()
        self.columns, self._sep = self._header(first, reading.sep)
        self.decimal = reading.decimal or self._guessed_decimal(first)
        # Found for the rest of the file, not the head alone.
        self.head = self._head()

    def _first_lines(self) -> str:
        try:
            with pa.input_stream(str(self.path), compression="detect") as stream:
                data: bytes = stream.read(_HEAD_BYTES)
                if len(data) == _HEAD_BYTES and data.count(b"\n") < 3:  # a hundred thousand columns
                    data += stream.read(_LONGEST_HEADER)
        except (OSError, pa.ArrowException) as error:
            raise StopError(f"{self.path}: cannot be read: {error}") from error
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self._encoding = "utf-16"
        try:
            # A character may be cut in two at the end.
            text = data.decode(self._encoding, errors="strict" if len(data) < _HEAD_BYTES else "ignore")
        except (UnicodeDecodeError, LookupError) as error:
            raise StopError(f"{self.path}: not {self._encoding}: try --encoding latin-1 ({error})") from error
        if not text.strip("\ufeff\r\n\t ;,"):
            raise StopError(f"{self.path}: is empty: nothing to fold")
        if "\0" in text:
            raise StopError(f"{self.path}: is neither CSV nor Parquet: it holds NUL bytes")
        return text.lstrip("\ufeff")

    def _header(self, text: str, sep: str | None) -> tuple[list[str], str]:
        lines = re.split(r"\r\n|\n|\r", text)
        # Blank lines may come before it.
        self._skipped = next(at for at, line in enumerate(lines) if line.strip()) + 1
        line = lines[self._skipped - 1]
        self._line_bytes = 4 * len(line)
        if not any(lines[self._skipped :]):
            raise StopError(f"{self.path}: has a header and no rows: nothing to fold")
        if sep is None:
            outside = re.sub(r'"[^"]*"', "", line)
            sep = max(_SEPARATORS, key=outside.count)
            if sep != ",":
                self.said.append(f"separator {sep!r}, by the header")
        try:
            names = [name.strip() for name in next(csv.reader(io.StringIO(line), delimiter=sep))]
        except csv.Error as error:
            raise StopError(f"{self.path}: the header cannot be read: {error}") from error
        if len(names) < 2:
            raise StopError(
                f"{self.path}: one column only, by the separator {sep!r}: the header is {line[:80]!r}; say another "
                "with --sep"
            )
        if all(_NUMBER(name) or re.match(r"\d{4}-\d\d-\d\d", name) for name in names):
            raise StopError(
                f"{self.path}: has no header: its first line is {line[:80]!r}; put one before it: time,value"
            )
        return [name or f"column-{at + 1}" for at, name in enumerate(names)], sep

    def _guessed_decimal(self, text: str) -> str:
        if self._sep == ",":
            return "."
        cells = [cell.strip('" ') for line in text.splitlines()[1:200] for cell in line.split(self._sep)]
        commas = sum(bool(re.fullmatch(r"[+-]?\d+,\d+", cell)) for cell in cells)
        points = sum(bool(re.fullmatch(r"[+-]?\d+\.\d+", cell)) for cell in cells)
        if commas > points:
            self.said.append("decimal comma, by the first rows")
            return ","
        return "."

    def _open(self, types: dict[int, pa.DataType] | None, block_bytes: int) -> pacsv.CSVStreamingReader:
        names = [str(at) for at in range(len(self.columns))]
        kinds = None if types is None else {str(at): kind for at, kind in types.items()}
        return pacsv.open_csv(
            str(self.path),
            read_options=pacsv.ReadOptions(
                column_names=names,
                skip_rows=self._skipped,
                block_size=max(block_bytes, 4 * self._line_bytes),
                encoding=self._encoding,
            ),
            parse_options=pacsv.ParseOptions(delimiter=self._sep, invalid_row_handler=self._skip),
            convert_options=pacsv.ConvertOptions(column_types=kinds, decimal_point=self.decimal),
        )

    def _skip(self, row: Any) -> str:
        self.ragged.lines += 1
        self.ragged.example = self.ragged.example or f"{row.actual_columns} cells in {row.text[:60]!r}"
        return "skip"

    def _head(self) -> pa.RecordBatch:
        try:
            with self._open(None, _HEAD_BYTES) as reader:
                head = next(iter(reader), None)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        if head is None or not head.num_rows:
            said = f": {self.ragged.lines} lines do not fit it, {self.ragged.example}" if self.ragged.lines else ""
            raise StopError(f"{self.path}: has a header and no rows{said}: nothing to fold")
        self.ragged = Ragged()
        return head

    def blocks(self, types: dict[int, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """See `Table`."""
        self.ragged = Ragged()
        kinds = {at: types.get(at, pa.utf8()) for at in range(len(self.columns))}
        try:
            with self._open(kinds, _BLOCK_BYTES) as reader:
                yield from reader
        except (pa.ArrowException, UnicodeDecodeError) as error:
            if found := re.search(r"In CSV column #(\d+): CSV conversion error", str(error)):
                raise UnreadCellError(self.path, int(found[1])) from error
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StopError:
        if isinstance(error, UnicodeDecodeError) or "UTF8" in str(error) or "UTF-8" in str(error):
            return StopError(f"{self.path}: is not {self._encoding}: try --encoding latin-1")
        return StopError(f"{self.path}: cannot be read as CSV: {str(error)[:300]}")


class ParquetTable:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.decimal = "."
        self.said: list[str] = []
        self.ragged = Ragged()
        with self._file() as file:
            self.columns: list[str] = [
                str(name) or f"column-{at + 1}" for at, name in enumerate(file.schema_arrow.names)
            ]
            if len(self.columns) < 2:
                raise StopError(f"{path}: has {len(self.columns)} column: at least a time and a value are needed")
            try:
                head = next(file.iter_batches(batch_size=1_000), None)
            except (pa.ArrowException, OSError) as error:
                raise StopError(f"{path}: cannot be read as Parquet: {str(error)[:300]}") from error
        if head is None or not head.num_rows:
            raise StopError(f"{path}: has no rows: nothing to fold")
        self.head = head

    def _file(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise StopError(f"{self.path}: cannot be read as Parquet: {str(error)[:300]}") from error

    def blocks(self, types: dict[int, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """See `Table`. Columns have the types that the file gives them."""
        with self._file() as file:
            try:
                yield from file.iter_batches(batch_size=max(1_000, _BLOCK_CELLS // len(self.columns)))
            except (pa.ArrowException, OSError) as error:
                raise StopError(f"{self.path}: cannot be read as Parquet: {str(error)[:300]}") from error
