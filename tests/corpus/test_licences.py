"""The licence by date, against boundaries and against dumps that state theirs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from corpus.licences import URL_BY_LICENCE, licence_at, licences_at

TIME = pa.timestamp("ms", "UTC")


@pytest.mark.parametrize(
    ("when", "licence"),
    [
        ("2008-07-31T21:42:52.667", "CC BY-SA 2.5"),
        ("2011-04-07T23:59:59.999", "CC BY-SA 2.5"),
        ("2011-04-08T00:00:00.000", "CC BY-SA 3.0"),
        ("2018-05-01T23:59:59.999", "CC BY-SA 3.0"),
        ("2018-05-02T00:00:00.000", "CC BY-SA 4.0"),
    ],
)
def test_the_licence_changes_at_midnight_of_two_days(when: str, licence: str) -> None:
    time = datetime.fromisoformat(when).replace(tzinfo=UTC)
    assert licence_at(time) == licence
    assert licences_at(pa.chunked_array([[time]], TIME)).to_pylist() == [licence]


@given(st.lists(st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))))
def test_many_licences_are_each_the_licence_of_its_time(times: list[datetime]) -> None:
    times = [time.replace(microsecond=time.microsecond // 1000 * 1000) for time in times]
    assert licences_at(pa.array(times, TIME)).to_pylist() == [licence_at(time) for time in times]


def test_every_licence_has_its_page() -> None:
    assert URL_BY_LICENCE["CC BY-SA 4.0"] == "https://creativecommons.org/licenses/by-sa/4.0/"
    assert list(URL_BY_LICENCE) == ["CC BY-SA 2.5", "CC BY-SA 3.0", "CC BY-SA 4.0"]


@pytest.mark.parametrize(
    ("dump", "num_comments", "num_revisions"),
    [
        ("coffee.meta.stackexchange.com/2020-08", 338, 590),
        ("conlang.meta.stackexchange.com/2020-08", 230, 425),
        ("slices/stackoverflow-sotorrent-9", 62, 82),
    ],
)
def test_comments_and_history_state_the_licence_of_their_date(
    shared_data: Path, dump: str, num_comments: int, num_revisions: int
) -> None:
    for table, expected in (("Comments", num_comments), ("PostHistory", num_revisions)):
        root = etree.parse(shared_data / "dumps" / dump / f"{table}.xml").getroot()
        stated = [row for row in root if row.get("ContentLicense")]
        times = [
            datetime.fromisoformat(row.get("CreationDate")).replace(tzinfo=UTC) for row in stated
        ]
        derived = licences_at(pa.array(times, TIME)).to_pylist()
        assert derived == [row.get("ContentLicense") for row in stated]
        assert len(derived) == expected
