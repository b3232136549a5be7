"""The model keeps what the benchmark relies on. Needs the package installed: pip install -e ."""

from __future__ import annotations

from adapters.conformance import check_model
from adapters.registry import catalog, catalog_problems


def test_the_package_announces_the_model() -> None:
    """The entry point of pyproject.toml leads to the card."""
    assert [problem for problem in catalog_problems() if "my-sar-model" in problem] == []
    assert "my-sar-model" in catalog()


def test_the_model_keeps_what_the_tasks_rely_on() -> None:
    """Shapes, sizes, repeatability, gradients and the rest; the report says what to change."""
    check_model(catalog()["my-sar-model"], quick=True).require_passed()
