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


def constraints(certificate: x509.Certificate) -> x509.Extension[x509.NameConstraints]:
    return certificate.extensions.get_extension_for_class(x509.NameConstraints)


def test_an_authority_is_for_the_names_of_one_domain_and_makes_no_other_authorities() -> None:
    root, key = certificates.new_root("root", now=NOW, life=timedelta(days=10)), certificates.new_key()
    made = root.authority(key.public_key(), "agent", "tower-7.waypost", now=NOW, life=timedelta(days=1))
    assert root.has_signed(made)
    assert not certificates.Signer(made, key).may_make_authorities
    assert constraints(made).critical
    permitted = constraints(made).value.permitted_subtrees
    assert permitted == [x509.UniformResourceIdentifier("tower-7.waypost"), x509.DNSName("tower-7.waypost")]
    excluded = constraints(made).value.excluded_subtrees
    assert {str(name.value) for name in excluded or ()} == {"0.0.0.0/0", "::/0"}
    assert certificates.uris(made) == []  # so it is nobody's name


def test_an_authority_that_signs_itself_is_constrained_likewise_and_good_at_all_times() -> None:
    root, key = certificates.new_root("root", now=NOW, life=timedelta(days=10)), certificates.new_key()
    made = root.authority(key.public_key(), "agent", "tower-7.waypost", now=NOW, life=timedelta(days=1))
    alone = certificates.self_signed_authority(key, "agent", "tower-7.waypost")
    leaf = certificates.Signer(alone, key).leaf(
        certificates.new_key().public_key(), "x", "spiffe://tower-7.waypost/x", now=NOW, life=timedelta(1)
    )
    assert certificates.is_directly_under(leaf, made)
    assert certificates.is_directly_under(leaf, alone)
    assert constraints(alone) == constraints(made)
    assert (alone.not_valid_before_utc.year, alone.not_valid_after_utc.year) == (1970, 9999)


def test_a_root_that_an_operator_made_for_leaves_only_makes_no_authorities() -> None:
    root = certificates.new_root("root", now=NOW, life=timedelta(days=10))
    assert root.may_make_authorities
    bridge = root.vouch_for(certificates.new_root("other", now=NOW, life=timedelta(days=10)).certificate)
    assert not certificates.Signer(bridge, root.key).may_make_authorities
