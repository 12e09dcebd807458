"""When certificates are renewed, and what is read from them."""

from datetime import timedelta

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mesh import certificates
from mesh.certificates import BACKDATED, Life, luck_of

NOW = 1_800_000_000.0
DAY_S = 86400.0

lives = st.floats(min_value=60, max_value=400 * DAY_S)
luck = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(lives, luck)
def test_a_certificate_is_renewed_at_half_of_its_life_give_or_take_a_tenth_of_that(
    life_s: float, chance: float
) -> None:
    due = Life(NOW, NOW + life_s).renew_at(chance) - NOW
    assert 0.449 * life_s <= due <= 0.551 * life_s


@given(lives)
def test_luck_spreads_a_fleet_over_a_fifth_of_that_half(life_s: float) -> None:
    life = Life(NOW, NOW + life_s)
    assert life.renew_at(0.0) < life.renew_at(0.5) < life.renew_at(0.999)


def test_the_life_of_a_certificate_begins_when_it_was_signed_not_where_it_is_dated_back_to() -> None:
    root = certificates.new_root("root", now=NOW, life=timedelta(days=10))
    assert Life.of(root.certificate) == Life(NOW, NOW + 10 * DAY_S)
    assert root.certificate.not_valid_before_utc.timestamp() == NOW - BACKDATED.total_seconds()


def test_whoever_reads_a_certificate_again_comes_to_the_same_moment() -> None:
    root = certificates.new_root("root", now=NOW, life=timedelta(days=10)).certificate
    again = x509.load_pem_x509_certificate(certificates.pem(root))
    assert 0 <= luck_of(root) < 1
    assert luck_of(again) == luck_of(root)


def test_a_signature_is_that_of_one_key_over_these_bytes() -> None:
    key, other = certificates.new_key(), certificates.new_key()
    given_ = certificates.signature(key, b"request")
    assert certificates.is_signed(b"request", given_, key.public_key())
    assert not certificates.is_signed(b"another", given_, key.public_key())
    assert not certificates.is_signed(b"request", given_, other.public_key())
    assert not certificates.is_signed(b"request", b"", key.public_key())
    assert not certificates.is_signed(b"request", b"nonsense", key.public_key())


def test_only_the_one_who_signed_a_certificate_has_signed_it() -> None:
    ours, theirs = (certificates.new_root("root", now=NOW, life=timedelta(days=1)) for _ in range(2))
    leaf = ours.leaf(
        certificates.new_key().public_key(), "leaf", "spiffe://a.waypost/agent", now=NOW, life=timedelta(1)
    )
    assert ours.has_signed(leaf)
    assert not theirs.has_signed(leaf)  # of the same name
    assert certificates.uris(leaf) == ["spiffe://a.waypost/agent"]
    assert certificates.uris(ours.certificate) == []
