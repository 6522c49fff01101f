"""Bytes of a file, plain or gzip alike, in bounded pieces: unpacked, counted and hashed."""

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

CHUNK: Final = 1 << 16  # with this, a block and what it becomes stay in a CPU cache
MAX_BYTES: Final = 256 << 20
"""Default limit of the uncompressed size: 25 times FD004's largest file."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS


class Readable(Protocol):
    """Anything with read(n) that returns at most n bytes and b"" at the end: a file, an S3 body, a socket."""

    def read(self, amount: int, /) -> bytes: ...


class StreamProblem(Exception):
    """Reading cannot go on; `rule` is one of RULES."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message


class Content:
    """The uncompressed content of a stream; compression is recognised by the first two bytes, not by the name.

    Iterate over it once. `bytes` and `sha256` cover what was yielded so far.
    """

    def __init__(self, stream: Readable, max_bytes: int = MAX_BYTES) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.gzip = False

    @property
    def sha256(self) -> str:
        """Hex digest of the uncompressed bytes yielded so far."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces of at most CHUNK bytes; raises StreamProblem (rules gzip, too_large)."""
        first = self._stream.read(CHUNK)
        # A stream may return less than was asked for: one byte is not enough to recognise gzip.
        while len(first) == 1 and (more := self._stream.read(CHUNK)):
            first += more
        self.gzip = first.startswith(_GZIP_MAGIC)
        for piece in self._unpack(first) if self.gzip else self._plain(first):
            self.bytes += len(piece)
            if self.bytes > self._max_bytes:
                raise StreamProblem("too_large", f"the content is larger than {self._max_bytes} bytes uncompressed")
            self._hash.update(piece)
            yield piece

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            yield piece
            piece = self._stream.read(CHUNK)

    def _unpack(self, packed: bytes) -> Iterator[bytes]:
        member = zlib.decompressobj(_GZIP_FORMAT)
        while packed:
            try:
                piece = member.decompress(packed, CHUNK)
            except zlib.error as error:
                raise StreamProblem("gzip", f"the compressed data is damaged ({error})") from error
            if piece:
                yield piece
            if member.eof:
                # Members may follow one another (RFC 1952, 2.2), padded with zeros as gzip itself allows.
                packed = (member.unused_data or self._stream.read(CHUNK)).lstrip(b"\0")
                while not packed and (packed := self._stream.read(CHUNK)):
                    packed = packed.lstrip(b"\0")
                member = zlib.decompressobj(_GZIP_FORMAT) if packed else member
            else:
                packed = member.unconsumed_tail or self._stream.read(CHUNK)
        if not member.eof:
            raise StreamProblem("gzip", "the compressed data ends too early: the file is cut off")
