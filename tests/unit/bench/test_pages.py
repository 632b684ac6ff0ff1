"""A report's table is written into the document that shows the table, and every bench has a document."""

from __future__ import annotations

from bench import pages
from bench.__main__ import names
from bench.report import Figure, Report

PAGE = """Before.
<!-- table: python -m bench one -->
stale
<!-- end of table -->
Between.
<!-- table: python -m bench two -->
other
<!-- end of table -->
After.
"""


def report(**fields):
    shown = {
        "name": "one",
        "figures": {"speed": Figure(unit="jobs/s", runs=(9.0, 10.0, 12.0))},
        "ratios": {"a / b": 0.9},
    }
    return Report(**(shown | {"required": {"a / b": 1.0}} | fields))


def test_only_the_table_of_the_bench_is_written(tmp_path):
    """The write replaces the old table, and keeps the text and other tables; a second write changes nothing."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    made = report()
    assert pages.write(made, (page,)) == [page]
    text = page.read_text()
    assert "stale" not in text
    assert "| speed | 10 | 9 | 12 | jobs/s |" in text
    assert text.startswith("Before.\n<!-- table: python -m bench one -->\n| figure")
    assert text.endswith(PAGE[PAGE.index("<!-- end of table -->\nBetween.") :])
    assert pages.write(made, (page,)) == []


def test_a_digest_is_the_comparison_alone(tmp_path):
    """The README's mark leaves out bars and versions."""
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("table: python -m bench one", "digest: python -m bench one"))
    pages.write(report(digest="| before | after |"), (page,))
    assert "bench one -->\n| before | after |\n<!-- end" in page.read_text()


def test_the_tables_of_nested_benches_are_written_too(tmp_path):
    """A run of the five cases fills the tables of all five benches and of the comparison."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    pages.write(report(parts=(report(name="two"),)), (page,))
    assert page.read_text().count("| speed | 10 | 9 | 12 | jobs/s |") == 2


def test_a_table_marks_ratios_that_fall_short():
    """A ratio below its bar and an unmeasured ratio have a mark; the table shows the date and the notes."""
    made = report(required={"a / b": 1.0, "c / d": 2.0}, notes=["as it was"])
    assert "| a / b | 0.9 | 1 | **no** |" in made.markdown()
    assert "| c / d | not measured | 2 | **no** |" in made.markdown()
    assert f"{made.when:%Y-%m-%d}, 3 rounds" in made.markdown()
    assert "As it was." in made.markdown()


def test_a_bench_may_bring_a_special_table():
    """The special table replaces the figures; the bars follow."""
    text = report(digest="| mine |").markdown()
    assert text.startswith("| mine |\n\n| ratio |")
    assert "speed" not in text


def test_every_bench_has_a_place():
    """The documents have a table for each bench, and no table without a bench."""
    shown = {
        name for page in pages.PAGES for _, form, name, _ in pages.TABLE.findall(page.read_text()) if form == "table"
    }
    assert shown == set(names())
