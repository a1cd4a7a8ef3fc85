"""Random TorchScript programs, a few of them; `python -m tests.random_programs.scripted` tries more."""

import pytest

from tests.marks import some_long
from tests.random_programs.scripted import problem, source

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore:`torch.jit")


def test_a_program_follows_from_its_number() -> None:
    assert source(7) == source(7) != source(8)
    everything = "".join(map(source, range(80)))
    for word in (
        "while left",
        "for index in range(n % 4)",
        "self.kept[",
        ", False)",
        ".split('b')",
        "return",
        "break",
    ):
        assert word in everything


@pytest.mark.parametrize("number", some_long([0, 1, 2, 3], [1, 2, 3]))
def test_scripted_programs(number: int) -> None:
    assert problem(number) is None
