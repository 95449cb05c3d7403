"""Waiting gives back what it waited for, and says what it waited for in vain."""

import pytest

from tests.waiting import until, until_blocking


async def test_until_gives_back_the_first_true_answer() -> None:
    answers = iter([None, 0, "here"])

    async def look() -> object:
        return next(answers)

    assert await until(look) == "here"
    assert await until(lambda: 7) == 7
    assert until_blocking(lambda: 7) == 7


async def test_in_vain_it_names_the_condition() -> None:
    def the_cow_comes_home() -> bool:
        return False

    with pytest.raises(AssertionError, match="the_cow_comes_home"):
        await until(the_cow_comes_home, within=0)
    with pytest.raises(AssertionError, match="the_cow_comes_home"):
        until_blocking(the_cow_comes_home, within=0)
