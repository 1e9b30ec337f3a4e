"""Files of structures, and the usual and unusual ways in which they are broken."""

import io

from ase.build import bulk
from ase.io import write
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

BINARY = bytes(range(256)) * 4
DEEP = settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: written by ASE, by ending
FORMATS = {"cif": "cif", "vasp": "vasp", "extxyz": "extxyz", "json": "json", "traj": "traj"}


def good(form, atoms=None):
    """A file of one crystal as bytes."""
    crystal = bulk("Si", cubic=True)[:4] if atoms is None else atoms
    stream = io.BytesIO() if form in ("traj", "cif") else io.StringIO()
    write(stream, crystal, format=form)
    content = stream.getvalue()
    return content if isinstance(content, bytes) else content.encode()


def spoilt(content):
    """The usual ways in which a file is broken."""
    third = len(content) // 3
    yield "empty", b""
    yield "blank", b"\n \n\n"
    yield "binary", BINARY
    yield "begun", content[:third]
    yield "cut", content[: 2 * third]
    yield "half binary", content[:third] + BINARY + content[third:]
    yield "no number", content.replace(b"0.0", b"nan").replace(b"0.2", b"****")
    yield "infinite", content.replace(b"0.0", b"1e999")
    yield "twice", content + content
    yield "no words", content.replace(b" ", b"")


@st.composite
def damaged(draw, contents):
    """One of some files with bytes changed, removed, doubled."""
    content = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        upto = min(len(content), at + draw(st.integers(0, 30)))
        new = draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b"nan", b"1e999", b"-1", b"0", b"9" * 30, b"\n", b"X", b'"', b"="]
                ),
                st.just(content[at:upto] * 2),
            )
        )
        content = content[:at] + new + content[upto:]
    return content
