"""The endpoint as a whole: it is started again when a part of it ends."""

from __future__ import annotations

import asyncio

from tests.operator.progress.api_server import ApiServer
from tests.operator.progress.background import Background
from tests.operator.progress.endpoints import POD, Endpoint


def test_an_endpoint_of_which_a_part_was_ended_can_be_started_again(
    background: Background, endpoint: Endpoint, api: ApiServer
) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    assert endpoint.post(token).status == 204
    authority = endpoint.ca_pem

    def parts() -> dict[str, asyncio.Task[None]]:
        return {
            each.get_name(): each
            for each in asyncio.all_tasks()
            if each.get_name().startswith("progress ")
        }

    async def end_a_part() -> None:
        parts()["progress writer"].cancel()
        await endpoint.inner.ended()
        assert not parts()

    background.run(end_a_part())
    background.run(endpoint.inner.start())
    assert endpoint.post(token).status == 204
    assert endpoint.ca_pem == authority
