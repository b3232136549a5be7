"""Options of the readers as they are written on the command line."""

from __future__ import annotations

import pytest

from foundation.errors import UsageError
from harness.report import table_name
from harness.request import RunRequest, parse_choices


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("d.json", {"": "d.json"}),
        ("sar_acd=d.json", {"sar_acd": "d.json"}),
        ("sar_acd=/a=b.json", {"sar_acd": "/a=b.json"}),
        ("sar_acd=a=b=c.json", {"sar_acd": "a=b=c.json"}),
        ("/a=b.json", {"": "/a=b.json"}),
        ("./a=b.json", {"": "./a=b.json"}),
        ("../sar_acd=b.json", {"": "../sar_acd=b.json"}),
        ("runs/a=b.json", {"": "runs/a=b.json"}),
    ],
)
def test_a_path_may_hold_the_sign_that_ends_the_name_of_a_data_set(written: str, expected: dict[str, str]) -> None:
    assert parse_choices("split-file", [written]) == expected


@pytest.mark.parametrize(
    ("option", "written", "says"),
    [
        ("split-file", "sar-adc=d.json", "unknown data set"),
        ("split", "=4:1", "not a value"),
        ("split", "sar_acd=", "not a value"),
        ("split", "", "not a value"),
        ("label-map", "ship7", "not a label map"),
        ("group", "sar_acd=scene", "sar_acd has no option --group"),
        ("class-order", "fusar_map=water", "fusar_map has no option --class-order"),
    ],
)
def test_what_means_nothing_is_refused(option: str, written: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_choices(option, [written])


def test_a_table_of_an_own_split_has_a_name_of_its_own() -> None:
    usual = RunRequest(data_choices={"split": {"": "7:3"}, "group_near_duplicates": {"": "no"}})
    assert table_name(4, usual) == "table4-mini"
    for choices in ({"split_file": {"sar_acd": "d.json"}}, {"group_near_duplicates": {"": "yes"}}):
        assert table_name(4, RunRequest(data_choices=choices)) == "table4-mini-own-split"
