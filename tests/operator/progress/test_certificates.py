"""The endpoint's certificates: who trusts them, when they are renewed, and what is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_operator.progress.certificates import (
    CA_KEY,
    CA_LIFE,
    CA_RENEWAL,
    LEAF_CERTIFICATE,
    LEAF_KEY,
    LEAF_LIFE,
    LEAF_RENEWAL,
    Certificates,
    read_certificates,
    renewed,
)

HOST = "progress.operator.svc"
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def is_trusted(certificates: Certificates, name: str, at: datetime, ca: Certificates) -> bool:
    """Tells whether somebody who holds an authority accepts a leaf, by the strict rules."""
    store = Store([ca.ca.certificate])
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(certificates.leaf.certificate, [])
    except VerificationError:
        return False
    return True


@pytest.fixture(scope="module")
def made() -> Certificates:
    return renewed(None, HOST, START)


@pytest.mark.parametrize("name", [HOST, "progress.operator", f"{HOST}.cluster.local"])
def test_the_leaf_is_good_for_each_name_of_the_service(made: Certificates, name: str) -> None:
    assert is_trusted(made, name, START, made)


@pytest.mark.parametrize("name", ["progress.other.svc", "operator.svc", "kubernetes.default.svc"])
def test_the_leaf_is_good_for_no_other_name(made: Certificates, name: str) -> None:
    assert not is_trusted(made, name, START, made)


@pytest.mark.parametrize(
    ("at", "trusted"),
    [
        pytest.param(START - timedelta(minutes=59), True, id="a node whose clock is behind"),
        pytest.param(START - timedelta(minutes=61), False, id="before it was valid"),
        pytest.param(START + LEAF_LIFE - MINUTE, True, id="to the end"),
        pytest.param(START + LEAF_LIFE + MINUTE, False, id="after its end"),
    ],
)
def test_the_leaf_is_good_for_its_time(made: Certificates, at: datetime, trusted: bool) -> None:
    assert is_trusted(made, HOST, at, made) is trusted


def test_another_authority_does_not_vouch(made: Certificates) -> None:
    assert not is_trusted(made, HOST, START, renewed(None, HOST, START))


@pytest.mark.parametrize("host", ["10.96.0.7", "fd00::7"])
def test_an_address_serves_as_a_name(host: str) -> None:
    made = renewed(None, host, START)
    found = made.leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(each) for each in found.value.get_values_for_type(x509.IPAddress)] == [host]


@pytest.mark.parametrize(
    ("after", "ca_stays", "leaf_stays"),
    [
        pytest.param(0 * DAY, True, True, id="at once"),
        pytest.param(LEAF_LIFE - LEAF_RENEWAL - DAY, True, True, id="while it is good for a month"),
        pytest.param(LEAF_LIFE - LEAF_RENEWAL, True, False, id="a month before the leaf's end"),
        pytest.param(LEAF_LIFE + DAY, True, False, id="after the leaf's end"),
        pytest.param(CA_LIFE - CA_RENEWAL - DAY, True, False, id="nine years later"),
        pytest.param(CA_LIFE - CA_RENEWAL, False, False, id="a year before the authority's end"),
        pytest.param(CA_LIFE + DAY, False, False, id="after the authority's end"),
        pytest.param(-timedelta(minutes=30), True, True, id="where the clock went back a little"),
        pytest.param(-2 * DAY, False, False, id="where the clock was wrong by days"),
    ],
)
def test_what_is_due_is_renewed_and_nothing_else(
    made: Certificates, after: timedelta, ca_stays: bool, leaf_stays: bool
) -> None:
    now = START + after
    later = renewed(made, HOST, now)
    assert (later.ca == made.ca) is ca_stays
    assert (later.leaf == made.leaf) is leaf_stays
    assert is_trusted(later, HOST, now, later)
    if ca_stays:
        assert is_trusted(later, HOST, now, made)


def test_another_host_gets_another_leaf_of_the_same_authority(made: Certificates) -> None:
    moved = renewed(made, "progress.elsewhere.svc", START)
    assert moved.ca == made.ca
    assert is_trusted(moved, "progress.elsewhere.svc", START, made)


@settings(deadline=None)  # making keys takes its time
@given(st.lists(st.integers(0, 3 * 365), max_size=12))
def test_whoever_looks_finds_good_ones_whenever_that_is(days: list[int]) -> None:
    now, known = START, renewed(None, HOST, START)
    for each in days:
        now += each * DAY
        known = renewed(known, HOST, now)
        assert is_trusted(known, HOST, now + LEAF_RENEWAL - DAY, known)
        assert renewed(known, HOST, now) is known


def test_what_is_kept_is_what_is_read(made: Certificates) -> None:
    read = read_certificates(made.to_secret_data())
    assert read is not None
    assert read.to_secret_data() == made.to_secret_data()
    assert renewed(read, HOST, START) is read


def rsa_key() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "change",
    [
        *(pytest.param({name: None}, id=f"no {name}") for name in (CA_KEY, LEAF_CERTIFICATE)),
        *(pytest.param({name: b""}, id=f"empty {name}") for name in (CA_KEY, LEAF_CERTIFICATE)),
        pytest.param({LEAF_CERTIFICATE: b"-----BEGIN CERTIFICATE-----\nAA==\n"}, id="cut"),
        pytest.param({LEAF_KEY: b"\xff\x00"}, id="garbage"),
    ],
)
def test_what_is_damaged_is_no_use(made: Certificates, change: dict[str, bytes | None]) -> None:
    data = {**made.to_secret_data(), **change}
    assert (
        read_certificates({name: value for name, value in data.items() if value is not None})
        is None
    )


def test_parts_that_do_not_belong_together_are_no_use(made: Certificates) -> None:
    other = renewed(None, HOST, START).to_secret_data()
    own = made.to_secret_data()
    assert read_certificates({**own, LEAF_KEY: other[LEAF_KEY]}) is None
    assert read_certificates({**own, LEAF_KEY: rsa_key()}) is None
    leaf = {name: other[name] for name in (LEAF_CERTIFICATE, LEAF_KEY)}
    assert read_certificates({**own, **leaf}) is None


def test_keys_are_of_p_256(made: Certificates) -> None:
    assert {type(pair.key.curve) for pair in (made.ca, made.leaf)} == {ec.SECP256R1}
