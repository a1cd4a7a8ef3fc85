"""The members of a `.pt2` archive, in a layout that every reader of zip archives understands alike.

What is checked here is read again by PyTorch, whose reader is another one than Python's. Neither of the two may see a
member, or contents of one, that the other does not.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

_MEMBER = re.compile(r"(?P<root>[A-Za-z0-9_.+ -]+)/(?P<name>[A-Za-z0-9_./ -]+)")
_END, _LOCATOR, _END_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_LOCAL_HEADER_BYTES = 30
_FLAGS = 0x808
"""UTF-8 names, and sizes after the contents."""


@dataclass(frozen=True)
class Archive:
    """An open archive; `members` by their names in its one folder."""

    zip: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]

    @classmethod
    def of(cls, archive: zipfile.ZipFile, source: BinaryIO) -> Archive:
        """The archive in a file, its layout checked; the contents of members are not.

        Raises:
            ValueError: it is damaged, or laid out so that readers could disagree.
        """
        entries = archive.infolist()
        directory, count = _directory(source)
        if count != len(entries):
            raise ValueError("the number of members is wrong")
        members: dict[str, zipfile.ZipInfo] = {}
        folders = set()
        for entry in entries:
            match = _MEMBER.fullmatch(entry.filename)
            if match is None or entry.orig_filename != entry.filename or ".." in entry.filename:
                raise ValueError(f"{entry.filename!r} is no name of a member")
            plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & ~_FLAGS
            if not plain or entry.compress_size != entry.file_size:
                raise ValueError(f"{entry.filename!r} is compressed or encrypted")
            if entry.header_offset + _LOCAL_HEADER_BYTES + entry.file_size > directory:
                raise ValueError(f"{entry.filename!r} ends behind the end of the file")
            folders.add(match["root"])
            members[match["name"]] = entry
        # PyTorch finds members without regard to case.
        if len({name.lower() for name in members}) != len(entries) or len(folders) != 1:
            raise ValueError("members have the same name, or are in several folders")
        if sum(entry.file_size for entry in entries) > directory:
            raise ValueError("members overlap")
        return cls(archive, members)

    def read(self, name: str) -> bytes:
        """The contents of a member; KeyError if there is none, zipfile.BadZipFile if its checksum is wrong."""
        return self.zip.read(self.members[name])


def _directory(source: BinaryIO) -> tuple[int, int]:
    """Where the list of members begins, and how many there are, if it can only be found in one way."""
    end = source.seek(0, 2) - _END.size
    signature, disk, start_disk, here, count, size, start, comment = _END.unpack(_read(source, end, _END.size))
    if signature != b"PK\5\6" or comment or disk or start_disk or here != count:
        raise ValueError("its end is no end of an archive")
    locator_at = end - _LOCATOR.size
    if locator_at >= 0 and _read(source, locator_at, 4) == b"PK\6\7":
        _, disk, end, disks = _LOCATOR.unpack(_read(source, locator_at, _LOCATOR.size))
        if end != locator_at - _END_64.size or disk or disks != 1:
            raise ValueError("its end is elsewhere")
        fields = _END_64.unpack(_read(source, end, _END_64.size))
        if fields[:2] != (b"PK\6\6", _END_64.size - 12) or fields[4] or fields[5] or fields[6] != fields[7]:
            raise ValueError("its end is no end of an archive")
        for short, long in ((count, fields[7]), (size, fields[8]), (start, fields[9])):
            if short not in (long, 0xFFFF, 0xFFFFFFFF):
                raise ValueError("its two ends disagree")
        count, size, start = fields[7:]
    if start + size != end:
        raise ValueError("something is between its members and its end")
    return start, count


def _read(source: BinaryIO, position: int, length: int) -> bytes:
    if position < 0:
        raise ValueError("it is too short")
    source.seek(position)
    return source.read(length)
