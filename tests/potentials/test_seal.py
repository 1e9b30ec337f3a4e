"""Checksums of saved data."""

import json
from pathlib import Path

import pytest

from potentials.seal import DamagedError, opened, sealed

DATA = {"b": [1.5e-300, -0.0, 1 / 3], "a": {"ä": None, "x": True}, "checks": "other"}
PATH = Path("somewhere.json")


def read(text):
    return opened(json.loads(text), PATH)


def test_what_was_written_is_read():
    assert read(json.dumps(sealed(DATA))) == DATA
    assert list(read(json.dumps(sealed(DATA)))) == list(DATA)


def test_data_without_a_checksum_are_believed():
    assert read(json.dumps(DATA)) == DATA


def test_any_other_value_is_seen():
    """Every bit of the file: no JSON any more, or another checksum, or the same data."""
    text = json.dumps(sealed(DATA)).encode()
    for place in range(len(text)):
        for bit in range(8):
            spoilt = bytearray(text)
            spoilt[place] ^= 1 << bit
            try:
                data = json.loads(bytes(spoilt))
            except ValueError:
                continue
            if "checksum" not in data:
                continue  # its very name was hit: the data are as they were
            try:
                assert opened(data, PATH) == DATA
            except DamagedError as error:
                assert str(PATH) in str(error)  # noqa: PT017 - which of both is not known before


def test_the_message_names_the_file():
    with pytest.raises(DamagedError, match=r"somewhere\.json: damaged"):
        opened(sealed(DATA) | {"b": [1.0]}, PATH)
