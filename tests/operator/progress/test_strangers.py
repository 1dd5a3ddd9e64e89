"""What strangers may send, and how they may send it, over TLS to the real endpoint."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.operator.progress.api_server import ApiServer
from tests.operator.progress.background import Background
from tests.operator.progress.endpoints import (
    EXPERIMENT,
    HOST,
    KEY,
    POD,
    REPORT,
    Endpoint,
    answer_on,
    running_endpoint,
)
from tests.servers.processes import wait_until

from sparse_transfer_api.contract import Stage, progress_path
from sparse_transfer_operator.cluster.connection import Connection
from sparse_transfer_operator.progress import ExperimentId, Limits, PodOwner
from sparse_transfer_operator.progress.server import MAX_BODY
from sparse_transfer_operator.progress.tokens import AT_ONCE

NEIGHBOUR = ExperimentId("team", "other", "other-uid")


def test_a_pods_own_report_is_taken_and_shown(endpoint: Endpoint, api: ApiServer) -> None:
    answer = endpoint.post(api.pod_token("good", endpoint.url, POD))
    assert (answer.status, answer.body) == (204, b"")
    wait_until(lambda: bool(api.patches), "a write")
    path, manager, document = api.patches[0]
    assert path.endswith("/namespaces/team/sparsetransferexperiments/reviews/status")
    assert manager == "sparse-transfer-operator-progress"
    shown = document["status"]["progress"]
    assert (shown["stage"], shown["percentage"], shown["metrics"]) == ("train", 25.0, {"loss": 0.5})
    ((experiment, progress),) = endpoint.taken
    assert experiment == EXPERIMENT
    assert progress is not None
    assert progress.step == 5


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic Z29vZA==", "good", "Bearer bad", "Bearer \xff\xfe"],
)
def test_without_a_good_token_nothing_is_taken(
    endpoint: Endpoint, api: ApiServer, authorization: str | None
) -> None:
    api.pod_token("good", endpoint.url, POD)
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = endpoint.post(None, headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "token" in answer.error
    assert not endpoint.taken


def test_a_token_for_another_audience_is_refused(endpoint: Endpoint, api: ApiServer) -> None:
    assert endpoint.post(api.pod_token("api", "https://kubernetes", POD)).status == 401


def test_a_token_that_is_no_pods_is_refused(endpoint: Endpoint, api: ApiServer) -> None:
    api.pod_token("account", endpoint.url, POD)[0]
    api.users["account"][0]["extra"].clear()
    assert endpoint.post("account").status == 401


def test_a_user_who_only_says_that_he_is_a_pod_is_refused(
    endpoint: Endpoint, api: ApiServer
) -> None:
    api.pod_token("person", endpoint.url, POD)
    api.users["person"][0]["username"] = "mallory"
    assert endpoint.post("person").status == 401


def test_an_authenticator_without_audiences_vouches_for_nothing(
    endpoint: Endpoint, api: ApiServer
) -> None:
    api.users["odd"] = ({"username": "system:serviceaccount:team:default"}, "")
    assert endpoint.post("odd").status == 401


@pytest.mark.parametrize(
    ("owner", "report"),
    [
        pytest.param(None, {}, id="an unknown pod"),
        pytest.param(PodOwner(NEIGHBOUR, Stage.TRAIN, KEY), {}, id="another experiment's pod"),
        pytest.param(
            PodOwner(ExperimentId("rivals", "reviews", "x"), Stage.TRAIN, KEY),
            {},
            id="a pod of an experiment of that name elsewhere",
        ),
        pytest.param(PodOwner(EXPERIMENT, Stage.PREPARE, KEY), {}, id="another stage's pod"),
        pytest.param(
            PodOwner(EXPERIMENT, Stage.TRAIN, KEY), {"stage": "package"}, id="not its stage"
        ),
    ],
)
def test_a_pod_speaks_for_nothing_but_its_own_stage(
    endpoint: Endpoint, api: ApiServer, owner: PodOwner | None, report: Mapping[str, Any]
) -> None:
    endpoint.owners.clear()
    if owner is not None:
        endpoint.owners[POD] = owner
    answer = endpoint.post(api.pod_token("good", endpoint.url, POD), {**REPORT, **report})
    assert answer.status == 403
    assert not endpoint.taken


def test_a_good_token_is_no_use_for_another_experiment(endpoint: Endpoint, api: ApiServer) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    assert endpoint.post(token).status == 204
    refused = [
        endpoint.post(token, path=progress_path(namespace, name))
        for namespace, name in (("team", "other"), ("rivals", "reviews"), ("team", "nothing"))
    ]
    # One that exists and one that does not cannot be told apart.
    assert {answer.status for answer in refused} == {403}
    assert len({answer.body for answer in refused}) == 1


def test_a_service_account_of_another_namespace_is_refused(
    endpoint: Endpoint, api: ApiServer
) -> None:
    assert endpoint.post(api.pod_token("moved", endpoint.url, POD, "rivals")).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/v1/namespaces/team/experiments/reviews/progress/",
        "/v1/namespaces/team/experiments/reviews/progress?x=1",
        "/v1/namespaces/team/experiments/../progress",
        "/v1/namespaces/team/experiments/%72eviews/progress",
        "/v1/namespaces/team/experiments/a/b/progress",
        "//v1/namespaces/team/experiments/reviews/progress",
        "https://localhost/v1/namespaces/team/experiments/reviews/progress",
    ],
)
def test_there_is_one_path_only(endpoint: Endpoint, api: ApiServer, path: str) -> None:
    answer = endpoint.post(api.pod_token("good", endpoint.url, POD), path=path)
    assert answer.status == 404
    assert not endpoint.taken


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_there_is_one_method_only(endpoint: Endpoint, api: ApiServer, method: str) -> None:
    answer = endpoint.post(api.pod_token("good", endpoint.url, POD), b"", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def report_with(**fields: str) -> bytes:
    """Returns a report with fields of raw JSON."""
    known = {name: json.dumps(value) for name, value in REPORT.items()}
    pairs = [f'"{name}": {value}' for name, value in {**known, **fields}.items()]
    return f"{{{', '.join(pairs)}}}".encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[" * 16000, id="deep"),
        pytest.param(b'{"a":' * 3000, id="deep objects"),
        pytest.param(b"{}", id="no stage"),
        pytest.param(report_with(stage='"dance"'), id="no such stage"),
        pytest.param(report_with(percentage="NaN"), id="not a number"),
        pytest.param(report_with(percentage="Infinity"), id="infinity"),
        pytest.param(report_with(percentage="100.5"), id="more than all"),
        pytest.param(report_with(percentage="-1"), id="less than nothing"),
        pytest.param(report_with(percentage='"50"'), id="a number as text"),
        pytest.param(report_with(percentage="true"), id="a truth"),
        pytest.param(report_with(step="1e400"), id="beyond a double"),
        pytest.param(report_with(step="9" * 40), id="beyond int64"),
        pytest.param(report_with(totalSteps=str(2**63)), id="just beyond int64"),
        pytest.param(report_with(step="9" * 10000), id="thousands of digits"),
        pytest.param(report_with(step="1.5"), id="half a step"),
        pytest.param(report_with(epoch="-0.1"), id="a negative epoch"),
        pytest.param(report_with(estimatedRemainingSeconds="1e300"), id="longer than time"),
        pytest.param(report_with(activity='"' + "x" * 129 + '"'), id="a long activity"),
        pytest.param(report_with(activity=r'"\u001b[2J"'), id="a terminal's command"),
        pytest.param(report_with(activity=r'"a\nb"'), id="two lines"),
        pytest.param(report_with(activity=r'"\ud800"'), id="half a character"),
        pytest.param(report_with(activity="7"), id="an activity that is no text"),
        pytest.param(report_with(metrics='{"loss": NaN}'), id="a metric that is no number"),
        pytest.param(report_with(metrics='{"loss": "low"}'), id="a metric that is text"),
        pytest.param(report_with(metrics='{"' + "x" * 64 + '": 1}'), id="a long metric"),
        pytest.param(report_with(metrics=r'{"\u0000": 1}'), id="a metric that cannot be read"),
        pytest.param(
            report_with(metrics=json.dumps({f"m{n}": n for n in range(65)})), id="many metrics"
        ),
    ],
)
def test_what_is_no_report_is_refused_without_being_repeated(
    endpoint: Endpoint, api: ApiServer, body: bytes
) -> None:
    answer = endpoint.post(api.pod_token("good", endpoint.url, POD), body)
    assert answer.status == 422
    assert len(answer.error) < 120
    assert answer.error.isprintable()
    assert not endpoint.taken


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"stage": "train", "activity": "x"}', id="the least"),
        pytest.param(report_with(future='{"a": [1, 2]}', schemaVersion="7"), id="a newer runner's"),
        pytest.param(report_with(activity='"évaluer, ünïcode, 評価"'), id="any language"),
        pytest.param(report_with(metrics='{"mAP50-95(B)": 1e300}'), id="a large metric"),
        pytest.param(report_with(lastUpdatedTime='"1999-01-01T00:00:00Z"'), id="a wrong clock"),
    ],
)
def test_what_newer_and_other_runners_say_is_taken(
    endpoint: Endpoint, api: ApiServer, body: bytes
) -> None:
    assert endpoint.post(api.pod_token("good", endpoint.url, POD), body).status == 204
    ((_, progress),) = endpoint.taken
    assert progress is not None
    assert progress.last_updated_time is not None
    assert progress.last_updated_time.year > 1999


def test_ten_megabytes_are_refused_by_their_announcement(
    endpoint: Endpoint, api: ApiServer
) -> None:
    answer = endpoint.post(api.pod_token("good", endpoint.url, POD), b"x" * 10_000_000)
    assert answer.status == 413


def chunked(parts: int) -> bytes:
    return b"".join(b"1000\r\n" + b" " * 0x1000 + b"\r\n" for _ in range(parts))


def test_ten_megabytes_that_nobody_announced_are_refused(
    endpoint: Endpoint, api: ApiServer
) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    with endpoint.connected() as connection:
        connection.sendall(head(token, "Transfer-Encoding: chunked"))
        connection.sendall(chunked(10_000_000 // 0x1000) + b"0\r\n\r\n")
        assert answer_on(connection).status == 413


def test_a_body_of_a_stranger_is_not_read(endpoint: Endpoint) -> None:
    with endpoint.connected() as connection:
        connection.sendall(head("bad", "Content-Length: 1000"))
        assert answer_on(connection).status == 401  # though nothing of the body has come


def test_compressed_bodies_are_not_unpacked(endpoint: Endpoint, api: ApiServer) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    answer = endpoint.post(token, b"\x1f\x8b" * 50, headers={"Content-Encoding": "gzip"})
    assert answer.status == 415


def head(
    token: str, *lines: str, path: str = "/v1/namespaces/team/experiments/reviews/progress"
) -> bytes:
    """Returns a request's beginning."""
    fixed = (f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Authorization: Bearer {token}")
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\x00\x01\x02\r\n\r\n", id="garbage"),
        pytest.param(b"POST / HTTP/9.9\r\n\r\n", id="an unknown version"),
        pytest.param(b"POST /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", id="a long path"),
        pytest.param(head("x" * 20000), id="a huge token"),
        pytest.param(head("x", *[f"X-{n}: 1" for n in range(500)]), id="many headers"),
        pytest.param(head("x", "Content-Length: -5"), id="a negative length"),
        pytest.param(head("x", "Content-Length: 5", "Content-Length: 6"), id="two lengths"),
        pytest.param(
            head("x", "Content-Length: 5", "Transfer-Encoding: chunked"), id="two ways to end"
        ),
    ],
)
def test_what_is_no_request_is_answered_shortly_and_logged_nowhere(
    endpoint: Endpoint, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with endpoint.connected() as connection:
        connection.sendall(text)
        answer = answer_on(connection)
    assert answer.status in (400, 401, 404)
    assert len(answer.error) < 120
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_answers_do_not_say_what_runs_here(endpoint: Endpoint) -> None:
    said = {endpoint.post(None, path=path).headers["server"] for path in ("/", "/v1")}
    assert said == {"sparse-transfer-operator"}


def test_plain_http_gets_no_answer(endpoint: Endpoint) -> None:
    with socket.create_connection((HOST, endpoint.port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = read_to_end(connection)
    assert not received.startswith(b"HTTP")


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    try:
        while data := connection.recv(4096):
            received += data
    except (ConnectionError, ssl.SSLError):
        pass
    return received


def test_old_tls_is_refused(endpoint: Endpoint) -> None:
    context = ssl.create_default_context(cadata=endpoint.ca_pem)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    plain = socket.create_connection((HOST, endpoint.port), timeout=20)
    with plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=HOST)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_from_1_2_on_is_spoken(endpoint: Endpoint, version: ssl.TLSVersion) -> None:
    with endpoint.connected(minimum_version=version, maximum_version=version) as connection:
        assert connection.version() == version.name.replace("_", ".")


def test_a_standby_takes_nothing_and_asks_nothing(endpoint: Endpoint, api: ApiServer) -> None:
    endpoint.leads = False
    answer = endpoint.post(api.pod_token("good", endpoint.url, POD))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert api.reviews == 0


def test_while_tokens_cannot_be_reviewed_nobody_is_taken_for_a_stranger(
    endpoint: Endpoint, api: ApiServer
) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    api.troubles.extend([500, 403, 429])
    for _ in range(3):
        answer = endpoint.post(token)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
    assert endpoint.post(token).status == 204


def test_a_token_is_asked_about_once_a_minute(endpoint: Endpoint, api: ApiServer) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    assert {endpoint.post(token).status for _ in range(5)} == {204}
    assert api.reviews == 1


def test_many_at_once_with_one_token_ask_once(endpoint: Endpoint, api: ApiServer) -> None:
    token = api.pod_token("good", endpoint.url, POD)
    api.holding = True
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(endpoint.post, token) for _ in range(8)]
        wait_until(lambda: api.reviews > 0, "a review")
        api.holding = False
        assert {each.result().status for each in answers} == {204}
    assert api.reviews == 1


def test_a_slow_api_server_is_not_asked_about_many_tokens_at_once(
    endpoint: Endpoint, api: ApiServer
) -> None:
    tokens = [api.pod_token(f"good{n}", endpoint.url, POD) for n in range(AT_ONCE)]
    late = api.pod_token("late", endpoint.url, POD)
    api.holding = True
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [pool.submit(endpoint.post, each) for each in tokens]
        wait_until(lambda: api.reviews == AT_ONCE, "reviews")
        assert endpoint.post(late).status == 503
        api.holding = False
        assert {each.result().status for each in answers} == {204}
    assert endpoint.post(late).status == 204


def test_a_pod_that_floods_is_slowed_down_alone(endpoint: Endpoint, api: ApiServer) -> None:
    flooding = api.pod_token("good", endpoint.url, POD)
    endpoint.owners["quiet"] = PodOwner(NEIGHBOUR, Stage.TRAIN, KEY)
    quiet = api.pod_token("quiet", endpoint.url, "quiet")
    answers = [endpoint.post(flooding) for _ in range(40)]
    slowed = [each for each in answers if each.status == 429]
    assert slowed
    assert all(int(each.headers["retry-after"]) > 0 for each in slowed)
    path = progress_path(NEIGHBOUR.namespace, NEIGHBOUR.name)
    assert endpoint.post(quiet, path=path).status == 204


def test_a_flood_of_unknown_tokens_does_not_reach_the_api_server(
    endpoint: Endpoint, api: ApiServer
) -> None:
    good = api.pod_token("good", endpoint.url, POD)
    assert endpoint.post(good).status == 204
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda n: endpoint.post(f"guess-{n}").status, range(200)))
    assert set(answers) == {401, 429}
    assert api.reviews < 30
    # Who is known already is not punished for what his node's other pods do.
    assert endpoint.post(good).status == 204


def test_a_refused_token_is_not_asked_about_again_at_once(
    endpoint: Endpoint, api: ApiServer
) -> None:
    assert {endpoint.post("guess").status for _ in range(5)} == {401}
    assert api.reviews == 1


SLOW = Limits(connections=8, per_address=6, handshake_seconds=0.5, seconds=1, linger_seconds=0.2)


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="says nothing"),
        pytest.param(b"POST /v1/", id="stops in the request"),
        pytest.param(head("good", "X-Slow: a")[:-4], id="stops in the headers"),
        pytest.param(head("good", "Content-Length: 100") + b"{", id="stops in the body"),
        pytest.param(head("good", "Transfer-Encoding: chunked") + b"5\r\n{", id="stops in a chunk"),
    ],
)
def test_who_stops_talking_is_cut_off(
    background: Background, connection: Connection, api: ApiServer, begun: bytes
) -> None:
    with running_endpoint(background, connection, SLOW) as endpoint:
        api.pod_token("good", endpoint.url, POD)
        with endpoint.connected() as stalling:
            stalling.sendall(begun)
            read_to_end(stalling)  # ends, or the socket's own time runs out
        assert endpoint.post("good").status == 204


def test_who_drips_is_cut_off_as_well(
    background: Background, connection: Connection, api: ApiServer
) -> None:
    with running_endpoint(background, connection, SLOW) as endpoint:
        api.pod_token("good", endpoint.url, POD)
        with endpoint.connected() as dripping:
            dripping.sendall(head("good", "Content-Length: 1000000"))
            cut_off = threading.Event()

            def drip() -> None:
                try:
                    while not cut_off.wait(0.05):
                        dripping.sendall(b" ")
                except OSError:
                    cut_off.set()

            writer = threading.Thread(target=drip)
            writer.start()
            assert cut_off.wait(20)
            writer.join()


def test_who_opens_connections_without_a_word_does_not_keep_others_out(
    background: Background, connection: Connection, api: ApiServer
) -> None:
    with running_endpoint(background, connection, SLOW) as endpoint:
        token = api.pod_token("good", endpoint.url, POD)
        silent = [socket.create_connection((HOST, endpoint.port)) for _ in range(100)]
        try:

            def taken() -> bool:
                try:
                    return endpoint.post(token).status == 204
                except OSError:
                    return False

            wait_until(taken, "a report among silent connections")
        finally:
            for each in silent:
                each.close()


def test_stopping_ends_connections(
    background: Background, connection: Connection, api: ApiServer
) -> None:
    with running_endpoint(background, connection) as endpoint:
        stalling = endpoint.connected()
    assert read_to_end(stalling) == b""
    stalling.close()


def test_the_largest_report_is_taken(endpoint: Endpoint, api: ApiServer) -> None:
    body = json.dumps(REPORT).encode().ljust(MAX_BODY)
    token = api.pod_token("good", endpoint.url, POD)
    assert endpoint.post(token, body).status == 204
    assert endpoint.post(token, body + b" ").status == 413
