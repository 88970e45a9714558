"""Names of columns, with units."""

import pytest

from cospine.database.demographics import column_name


@pytest.mark.parametrize(
    ("column", "unit", "name"),
    [
        ("age", "years", "age_years"),
        ("Age (y)", "y", "age_y_years"),
        ("weight_kg", "kg", "weight_kg"),
        ("heat temperature", "°C", "heat_temperature_degc"),
        ("sex", "N/A", "sex"),
        ("2nd", "", "c_2nd"),
        ("年齢", "years", "column_years"),
        ('x"; DROP TABLE', "", "x_drop_table"),
    ],
)
def test_names(column: str, unit: str, name: str) -> None:
    assert column_name(column, unit) == name
