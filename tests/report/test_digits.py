"""Numbers are written with as many digits as they need."""

from seewhy.report.digits import decimals, number, place, seconds


def test_numbers_have_as_many_digits_as_tell_them_apart():
    assert [decimals(v) for v in ([0.5, 0.51], [12.3, 4.0], [734.0, 800.0], [0.0073])] == [3, 1, 0, 5]
    assert decimals([1e-9]) is None
    assert number(-0.0004, 2) == "-0.0004", "it is not 0"
    assert [number(v, 2) for v in (0.125, 0.0, float("nan"), float("inf"))] == ["0.12", "0.00", "n/a", "inf"]
    assert [number(v, None) for v in (1234567.0, 1e-5)] == ["1.23e+06", "1e-05"]
    assert [seconds(v) for v in (0.0123, 4.5, 150.0, 20000.0)] == ["12.3 ms", "4.5 s", "2 min", "5 h 33 min"]
    assert [place(v) for v in (1.0, 2.5)] == ["1", "2.5"]
