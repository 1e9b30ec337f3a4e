"""The page: everything in it, nothing from outside, at every stage of a campaign."""

import re
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from aga.campaign.lock import RunLock
from aga.report.html import PICTURES, write_report
from tests.report.conftest import LOG, REASON, Campaign, fcc

HEADINGS = [
    "Structures",
    "Best enthalpy against labels",
    "Predicted against computed enthalpy",
    "Spread against error",
    "Workers",
    "Operators",
    "Ensemble errors against labels",
    "Holes of the potential",
    "Failed calculations",
]
VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    """Text, ids, headings and outside addresses of a page whose tags must match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.text, self.headings, self.links = [], [], "", [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        found = dict(attributes)
        if "id" in found:
            self.ids.append(found["id"])
        self.links += [found[name] for name in ("src", "href", "xlink:href") if name in found]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)


def written(run_dir):
    path = write_report(run_dir)
    assert path == run_dir / "report" / "index.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("report") / "run")
    return write_report(folder).parent


@pytest.fixture
def text(report):
    return (report / "index.html").read_text(encoding="utf-8")


def test_sections_and_pictures(text):
    page = Page(text)
    assert page.headings == HEADINGS
    assert text.count("<svg") == len(PICTURES) == 6
    assert len(page.ids) == len(set(page.ids))
    assert "EMT (a toy potential, not DFT)" in page.text
    assert "finished: the best has not changed" in page.text
    assert "Fm-3m (225)" in page.text
    assert "confirmed by EMT (surrogate)" in page.text


def test_nothing_is_asked_from_outside(text):
    assert not re.search(r"https?:|://|<script|@import", text)
    page = Page(text)
    inside, links = set(page.ids), [link for link in page.links if not link.startswith("data:")]
    assert links
    assert {link.removeprefix("#") for link in links} <= inside
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= inside


def test_failures_with_reason_and_log(text):
    page = Page(text)
    assert REASON in page.text  # escaped in the page: it holds < and &
    assert LOG in page.text
    assert "<gaussian" not in text


def test_a_relaxation_that_failed_on_its_way_is_among_the_failures(campaign):
    record = campaign.plan("relax", chain="e0", target=["e0", "a"], purpose="confirm", points=5)
    failure = {"kind": "permanent", "reason": "the relaxation left the gates", "log": ""}
    done = {"points": [], "converged": False, "found": 0, "failure": failure}
    campaign.close(record, {"ok": done}, "dft-0")
    campaign.close_store()
    assert failure["reason"] in Page(written(campaign.store.run_dir)).text


def test_pictures_are_files_too(report):
    for name, *_ in PICTURES:
        root = ET.parse(report / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
    assert not list(report.glob(".*"))


def test_pictures_come_out_the_same_twice(report, run_dir):
    again = write_report(run_dir).parent
    for name, *_ in PICTURES:
        assert (again / f"{name}.svg").read_bytes() == (report / f"{name}.svg").read_bytes()


def test_before_the_first_label(empty_dir):
    text = written(empty_dir)
    page = Page(text)
    assert page.headings == HEADINGS
    assert "No structure has been labelled yet." in page.text
    assert page.text.count("Nothing to draw yet.") == len(PICTURES)
    assert "<svg" not in text


def test_while_it_runs(campaign):
    with RunLock(campaign.store.run_dir):
        page = Page(written(campaign.store.run_dir))
    assert "running (process" in page.text


def test_after_the_first_label(tmp_path):
    made = Campaign(tmp_path / "run")
    made.label("s0", fcc(), predicted=0.1, spread=0.1)
    made.close_store()
    assert written(made.store.run_dir).count("<svg") == 4  # no generation, no ensemble
