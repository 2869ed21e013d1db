"""Proves that turns are never lost: whoever leaves, whenever, the model goes on to the next."""

import asyncio
import random
from typing import Any

import pytest
from midm_mini.desk import Desk, Full, Order
from midm_mini.model import Piece


class Quick:
    """A model that says three words at once."""

    context = 256

    def stream(self, ids: list[int], **_: Any) -> list[Piece]:
        return [Piece("x", n, "length" if n == 3 else None, 0.0) for n in ids]


def order(client: str) -> Order:
    return Order(lambda _: [1, 2, 3], {}, client)


async def taken(desk: Desk, client: str) -> int:
    return len([piece async for piece in desk.write(order(client))])


@pytest.mark.parametrize("seed", range(5))
def test_clients_that_give_up_at_any_moment_leave_the_turn_to_others(seed: int) -> None:
    rng = random.Random(seed)

    async def crowd(desk: Desk) -> int:
        tasks = [asyncio.create_task(taken(desk, rng.choice("abc"))) for _ in range(60)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            rng.choice(tasks).cancel()
            if rng.random() < 0.3:
                [task.cancel() for task in tasks]
        await asyncio.gather(*tasks, return_exceptions=True)
        return await asyncio.wait_for(taken(desk, "d"), 5)

    with Desk(Quick(), queue=16, seconds=20.0) as desk:  # type: ignore[arg-type]
        assert asyncio.run(crowd(desk)) == 3


def test_turns_go_round_the_clients_and_the_longest_line_is_cut() -> None:
    served: list[str] = []

    async def one(desk: Desk, client: str) -> None:
        async for piece in desk.write(order(client)):
            served.extend(client * (piece.token == 1))

    async def rush(desk: Desk) -> list[object]:
        return await asyncio.gather(*(one(desk, client) for client in "aaaaabbc"), return_exceptions=True)

    with Desk(Quick(), queue=6, seconds=20.0) as desk:  # type: ignore[arg-type]
        found = asyncio.run(rush(desk))
    assert "".join(served) == "abcabaa"
    assert [isinstance(one, Full) for one in found] == [False] * 4 + [True] + [False] * 3
